# Acquire a lock with 10s timeout
printf 'l\nmy-key\n10\n' | nc localhost 6388
# Response: ok <token> <lease_ttl>

# Release (substitute your token)
printf 'r\nmy-key\n<token>\n' | nc localhost 6388
# Response: ok
