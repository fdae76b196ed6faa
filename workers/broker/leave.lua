-- A consumer has ended. If it still has messages, it dies instead, and they go back then.
--
-- KEYS: claims, consumers. ARGV: consumer.

local mine = KEYS[1] .. ':' .. ARGV[1]
if redis.call('SCARD', mine) == 0 then
    redis.call('DEL', mine .. ':closed')
    redis.call('ZREM', KEYS[2], ARGV[1])
end
return 0
