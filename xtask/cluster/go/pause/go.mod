module gwapi.dev/cluster/pause

go 1.24
