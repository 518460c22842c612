complete -c tcpdcompile -l allow -d 'Rules that grant, instead of /etc/hosts.allow' -r -F
complete -c tcpdcompile -l deny -d 'Rules that refuse, instead of /etc/hosts.deny' -r -F
complete -c tcpdcompile -l image -d 'The image, instead of /var/lib/tcpd/rules.img' -r -F
complete -c tcpdcompile -l config -d 'Settings, instead of /etc/tcpd.conf' -r -F
complete -c tcpdcompile -l status -d 'Say whether the image is used, and why; change nothing'
complete -c tcpdcompile -l quiet -d 'Say nothing but errors'
complete -c tcpdcompile -s h -l help -d 'Print help'
complete -c tcpdcompile -s V -l version -d 'Print version'
