"""The gRPC side: handlers of a few lines, protos to domain and back, errors to statuses."""
