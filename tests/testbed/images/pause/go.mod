module flyte.onprem/testbed/pause

go 1.26.0
