"""The server as an edge meets it: the connection, who asks, and in which life the store is."""
