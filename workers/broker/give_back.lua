-- Shared by the scripts that end a claim. A claim is `consumer \n link \n length of the message \n list`.

local function claim_of(claims, tag)
    local claim = redis.call('HGET', claims, tag)
    if not claim then
        return nil
    end
    local consumer, link, length, list = string.match(claim, '^([^\n]*)\n([^\n]*)\n(%d+)\n(.*)$')
    return consumer, link, tonumber(length), list
end

-- The message's own text with a last member that says how often a consumer died with it. Nothing else is touched: what
-- a JSON library of Lua writes is not what it read.
local function marked(raw, died)
    -- Looked for at the end alone: a message may be megabytes long.
    local ending = string.sub(raw, -64)
    local start = #raw - #ending
    local found, _, deaths = string.find(ending, ', "gateway_deaths": (%d+)}$')
    if not found then
        found, deaths = string.find(ending, '}%s*$'), 0
    end
    if not found then
        return raw
    end
    local text = string.sub(raw, 1, start + found - 1)
    return text .. ', "gateway_deaths": ' .. (deaths + (died and 1 or 0)) .. '}'
end

-- Puts a claimed message back to the head of its list. `how`: `unseen`, it is as it was; `seen`, somebody may have
-- begun with it; `died`, the one who had it is gone.
local function give_back(unacked, index, claims, tag, how)
    local consumer, _, length, list = claim_of(claims, tag)
    local kept = redis.call('HGET', unacked, tag)
    if kept then
        local raw = string.sub(kept, 2, 1 + length)
        -- First: where memory is short it is refused, and all stays as it is.
        redis.call('RPUSH', list, how == 'unseen' and raw or marked(raw, how == 'died'))
        redis.call('HDEL', unacked, tag)
    end
    redis.call('ZREM', index, tag)
    redis.call('HDEL', claims, tag)
    redis.call('SREM', claims .. ':' .. consumer, tag)
end

local function seconds()
    local now = redis.call('TIME')
    return now[1] + now[2] / 1000000
end
