complete -c tcpd -l max-connections -d 'Serve at most N at once, the others wait [default: 256]' -r
complete -c tcpd -l max-per-client -d 'Serve at most N of one client at once, close the others' -r
complete -c tcpd -l allow -d 'Rules that grant, instead of /etc/hosts.allow' -r -F
complete -c tcpd -l deny -d 'Rules that refuse, instead of /etc/hosts.deny' -r -F
complete -c tcpd -l daemon -d 'Name of the service in rules and log, instead of the server\'s' -r
complete -c tcpd -l log -d 'syslog, stderr, journal or json:FILE; may be given several times [default: syslog]' -r -f -a "syslog\t''
stderr\t''
journal\t''
json:\t''"
complete -c tcpd -l config -d 'Settings, instead of /etc/tcpd.conf' -r -F
complete -c tcpd -l image -d 'Compiled rules, instead of /var/lib/tcpd/rules.img, or none' -r -F
complete -c tcpd -l listen -d 'Accept connections here, or on the sockets of a systemd.socket(5); may be given several times' -r -f -a "systemd\t''"
complete -c tcpd -s h -l help -d 'Print help'
complete -c tcpd -s V -l version -d 'Print version'
