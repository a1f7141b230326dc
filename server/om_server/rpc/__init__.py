"""The gRPC floor: one server, one wrapper around every call, one exit for errors. It knows no slice."""
