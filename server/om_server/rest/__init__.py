"""The REST surface: HTTP in, gRPC out. It holds no rule and no state but one channel to the server."""
