complete -c try-from -l help -d 'Say how it is called, and exit'
complete -c try-from -l version -d 'Say which version it is, and exit'
