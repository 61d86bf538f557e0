module flyte.onprem/testbed/pg_isready

go 1.26.0
