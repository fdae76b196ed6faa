-- Ends claims of a consumer, and says that it lives. What is not its own any more stays as it is.
--
-- KEYS: unacked, its index, claims, consumers.
-- ARGV: consumer, number of acknowledged messages, their tags; then `how` and tag of each message that goes back.
-- Returns how many claims ended.

local unacked, index, claims, consumers = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local consumer, count, ended = ARGV[1], tonumber(ARGV[2]), 0

local acked = {}
for i = 3, 2 + count do
    if claim_of(claims, ARGV[i]) == consumer then
        acked[#acked + 1] = ARGV[i]
    end
end
if #acked > 0 then
    redis.call('ZREM', index, unpack(acked))
    redis.call('HDEL', unacked, unpack(acked))
    redis.call('HDEL', claims, unpack(acked))
    redis.call('SREM', claims .. ':' .. consumer, unpack(acked))
end

for i = 3 + count, #ARGV, 2 do
    if claim_of(claims, ARGV[i + 1]) == consumer then
        give_back(unacked, index, claims, ARGV[i + 1], ARGV[i])
        ended = ended + 1
    end
end

-- Refused where memory is short; who sweeps takes that into account.
redis.pcall('ZADD', consumers, seconds(), consumer)
return ended + #acked
