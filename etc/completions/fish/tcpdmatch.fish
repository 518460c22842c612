complete -c tcpdmatch -s i -d 'Services, instead of /etc/inetd.conf' -r -F
complete -c tcpdmatch -l format -d 'human or json [default: human]' -r -f -a "human\t''
json\t''"
complete -c tcpdmatch -l expect -d 'Exit with 1 unless granted, denied, delegated' -r -f -a "granted\t''
denied\t''
delegated\t''"
complete -c tcpdmatch -l accept -d 'Of logs: let these flip: FILE:LINE, no-rule, a network, a verdict, or several with commas; may be given several times' -r -f -a "no-rule\t''
granted\t''
denied\t''
delegated\t''"
complete -c tcpdmatch -l service -d 'Of logs: what xinetd calls NAME is DAEMON in rules; may be given several times' -r
complete -c tcpdmatch -l allow -d 'Rules that grant, instead of /etc/hosts.allow' -r -F
complete -c tcpdmatch -l deny -d 'Rules that refuse, instead of /etc/hosts.deny' -r -F
complete -c tcpdmatch -l config -d 'Settings, instead of /etc/tcpd.conf' -r -F
complete -c tcpdmatch -l image -d 'Compiled rules, instead of /var/lib/tcpd/rules.img, or none' -r -F
complete -c tcpdmatch -s d -d 'Use hosts.allow and hosts.deny of this directory'
complete -c tcpdmatch -l explain -d 'Show the way to the verdict'
complete -c tcpdmatch -l stated -d 'Take these facts, and look nothing up'
complete -c tcpdmatch -l batch -d 'Answer the requests on standard input, JSON lines both'
complete -c tcpdmatch -l replay -d 'Decide the connections of these logs again, and show what flips'
complete -c tcpdmatch -l hits -d 'Of logs: show how often each rule decides instead'
complete -c tcpdmatch -l look-up -d 'Of logs: look up the names that they do not hold'
complete -c tcpdmatch -l unread -d 'Of logs: show the lines that cannot be read'
complete -c tcpdmatch -l verbose -d 'Of logs: show every row, with some of its lines'
complete -c tcpdmatch -l help -d 'Say how it is called, and exit'
complete -c tcpdmatch -l version -d 'Say which version it is, and exit'
