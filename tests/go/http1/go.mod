// What Go's net/http, and with it the API server, takes a connection's bytes for.
module egressguard.io/test/http1

go 1.26.0
