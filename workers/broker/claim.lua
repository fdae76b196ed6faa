-- Takes messages off their lists and records them as this consumer's, in one step.
--
-- KEYS: unacked, its index, claims, entries that are no messages, consumers; then the lists, those of the highest priority first,
-- and of each priority one for each queue in the order of the queues' turns. All are read, also empty ones: the server
-- tells a connection that has `CLIENT TRACKING` on when one of them changes.
-- ARGV: consumer, link (the connection), how many at most, number of queues, how many entries that are none to keep.
-- Returns the number of messages left, then for each one taken: the number of its list (from 0), its tag ('' if it is
-- no message, and is kept apart already), its text.

local unacked, index, claims, aside, consumers, first = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], 6
-- While this runs the server does nothing else: large messages are taken a few at a time.
local BYTES_MOST = 1000000
local consumer, link, wanted, queues = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local mine = claims .. ':' .. consumer

if redis.call('SISMEMBER', mine .. ':closed', link) == 1 then
    return {0}
end

local length, left = {}, 0
for i = first, #KEYS do
    local found = redis.pcall('LLEN', KEYS[i])
    length[i] = type(found) == 'number' and found or 0
    left = left + length[i]
end

-- One of each queue in turn, as long as there are any; then the next priority.
local taken, order, raws, bytes = {}, {}, {}, 0
for block = first, #KEYS, queues do
    local found = true
    while found and #order < wanted and bytes < BYTES_MOST do
        found = false
        for i = block, block + queues - 1 do
            if #order < wanted and bytes < BYTES_MOST and length[i] > (taken[i] or 0) then
                taken[i] = (taken[i] or 0) + 1
                local raw = redis.call('LINDEX', KEYS[i], -taken[i])
                order[#order + 1], raws[#raws + 1] = i, raw
                bytes = bytes + #raw
                found = true
            end
        end
    end
end
if #order == 0 then
    return {0}
end

local function text_or_none(value)
    if value == nil or value == cjson.null then
        return ''
    end
    return type(value) == 'string' and value or nil
end

local function identity(raw)
    local fine, entry = pcall(cjson.decode, raw)
    local properties = fine and type(entry) == 'table' and entry.properties
    local info = type(properties) == 'table' and properties.delivery_info
    local tag = type(properties) == 'table' and properties.delivery_tag
    if type(info) ~= 'table' or type(tag) ~= 'string' or tag == '' then
        return nil
    end
    local exchange, routing_key = text_or_none(info.exchange), text_or_none(info.routing_key)
    if not exchange or not routing_key then
        return nil
    end
    return tag, ', ' .. cjson.encode(exchange) .. ', ' .. cjson.encode(routing_key) .. ']'
end

local now = redis.call('TIME')
local stamp = now[1] + now[2] / 1000000
local answer = {left - #order}
local kept, scores, owners, tags, strays = {}, {}, {}, {}, {}
for number, i in ipairs(order) do
    local raw = raws[number]
    local tag, address = identity(raw)
    if tag then
        kept[#kept + 1], kept[#kept + 2] = tag, '[' .. raw .. address
        -- Each a little later, which keeps their order.
        scores[#scores + 1], scores[#scores + 2] = stamp + #tags / 1000000, tag
        owners[#owners + 1], owners[#owners + 2] = tag, table.concat({consumer, link, #raw, KEYS[i]}, '\n')
        tags[#tags + 1] = tag
    else
        strays[#strays + 1] = raw
    end
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = i - first, tag or '', raw
end

-- Recorded first, taken off then: where a write is refused for want of memory, nothing has been taken.
if #tags > 0 then
    -- A consumer that nobody has heard of yet could not be found dead.
    redis.call('ZADD', consumers, 'NX', stamp, consumer)
    redis.call('HSET', unacked, unpack(kept))
    redis.call('ZADD', index, unpack(scores))
    redis.call('HSET', claims, unpack(owners))
    redis.call('SADD', mine, unpack(tags))
end
if #strays > 0 then
    redis.call('LPUSH', aside, unpack(strays))
    redis.call('LTRIM', aside, 0, tonumber(ARGV[5]) - 1)
end
for i, count in pairs(taken) do
    redis.call('LTRIM', KEYS[i], 0, -count - 1)
    -- Taking off ended the watch of this list.
    redis.call('LLEN', KEYS[i])
end
return answer
