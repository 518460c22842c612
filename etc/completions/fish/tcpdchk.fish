complete -c tcpdchk -s i -d 'Services, in place of /etc/inetd.conf' -r -F
complete -c tcpdchk -l test -d 'Try whether the rules do what these files expect, and nothing else' -r -F
complete -c tcpdchk -l format -d 'How complaints are shown' -r -f -a "classic\t''
human\t''
short\t''
json\t''"
complete -c tcpdchk -l allow -d 'Rules that grant, in place of /etc/hosts.allow' -r -F
complete -c tcpdchk -l deny -d 'Rules that refuse, in place of /etc/hosts.deny' -r -F
complete -c tcpdchk -l config -d 'Settings, in place of /etc/tcpd.conf' -r -F
complete -c tcpdchk -l root -d 'With --services: look at the system in DIR, not at this one' -r -f -a "(__fish_complete_directories)"
complete -c tcpdchk -s a -d 'Report rules that grant without a final "allow"'
complete -c tcpdchk -s d -d 'Check hosts.allow and hosts.deny of the current directory'
complete -c tcpdchk -s v -d 'List every rule'
complete -c tcpdchk -l services -d 'List what the rules govern on this machine, instead of checking them'
complete -c tcpdchk -s h -l help -d 'Print help'
complete -c tcpdchk -s V -l version -d 'Print version'
