"""A service of users that speaks REST, GraphQL and gRPC, and misbehaves when it is asked to.

INTERNAL_API_KEY=secret python -m examples.user_service --rest-port 8000 --grpc-port 50051
"""
