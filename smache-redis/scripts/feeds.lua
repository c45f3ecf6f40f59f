-- Prepended to the scripts that apply a feed's step, behind records.lua.
--
-- A feed is a hash `f:<feed>`: n fence, h holder, u end of its leadership. Positions are the fields of `p`, by source:
-- four bytes of length, order, token. A step is written as feed, fence, leadership, valid_for (empty: unchanged),
-- deadline (empty: none), caught_up, incarnation, and then (source, order, token, a random epoch) each.
local function read_step(at)
    local step = {
        feed = PREFIX .. 'f:' .. ARGV[at], fence = ARGV[at + 1], leadership = tonumber(ARGV[at + 2]),
        valid_for = tonumber(ARGV[at + 3]), deadline = tonumber(ARGV[at + 4]), caught_up = ARGV[at + 5] == '1',
        incarnation = ARGV[at + 6], positions = {},
    }
    for place = at + 7, #ARGV, 4 do
        step.positions[#step.positions + 1] =
            { source = ARGV[place], order = ARGV[place + 1], token = ARGV[place + 2], epoch = ARGV[place + 3] }
    end
    return step
end

local function is_fenced(step) return call('HGET', step.feed, 'n') ~= step.fence end

local function renew_leadership(step) call('HSET', step.feed, 'u', int(NOW + step.leadership)) end

-- Byte by byte: `<` of Lua's strings follows the server's locale.
local function sorts_before(one, other)
    for at = 1, math.min(#one, #other) do
        local a, b = string.byte(one, at), string.byte(other, at)
        if a ~= b then return a < b end
    end
    return #one < #other
end

-- The order of a saved position; nil if it cannot be read.
local function order_of(saved)
    if #saved < 4 then return nil end
    local length = struct.unpack('>I4', saved)
    if #saved < 4 + length then return nil end
    return string.sub(saved, 5, 4 + length)
end

-- Saves a position and returns true, unless the saved one is of another history, which the first sixteen bytes of an
-- order name, or is a later one of the same history.
local function save_position(position, even_back)
    local key = PREFIX .. 'p'
    if not even_back then
        local saved = call('HGET', key, position.source)
        local order = saved and order_of(saved)
        if order then
            if string.sub(position.order, 1, 16) ~= string.sub(order, 1, 16) then return false end
            if sorts_before(position.order, order) then return false end
        end
    end
    call('HSET', key, position.source, struct.pack('>I4', #position.order) .. position.order .. position.token)
    return true
end
