-- Prepended to every script: the time, the numbers and the jobs.
--
-- KEYS[1] is the prefix `{<namespace>}:` of every key. Times are milliseconds of this server's clock. `int` writes
-- whole numbers, since Lua writes large ones as 1.7e+12.
local PREFIX = KEYS[1]
local call = redis.call
local time = call('TIME')
local NOW = time[1] * 1000 + math.floor(time[2] / 1000)

local NOW_TEXT = string.format('%.0f', NOW)

local function int(number)
    if number == NOW then return NOW_TEXT end
    return string.format('%.0f', number)
end

-- The answer of a script on keys of another layout; script.rs defines `LAYOUT`, and the limits of all backends.
local function other_layout(found) return redis.error_reply('LAYOUT ' .. int(tonumber(found) or 0)) end

-- A number that counts something; none where it is damaged, or so large that Lua does not know the next one.
local function whole_count(text)
    local count = string.match(text, '^%d+$') and tonumber(text)
    return count and count < 2 ^ 53 and count or nil
end

local function u64(number) return struct.pack('>I8', number) end
local function from_u64(bytes, at) return (struct.unpack('>I8', bytes, at)) end

-- Lua's `unpack` takes some 8,000 values, so long lists go in pieces.
local function in_pieces(list, size, send)
    for first = 1, #list, size do
        send(unpack(list, first, math.min(first + size - 1, #list)))
    end
end

-- Adds members of sorted sets together, since a call costs more than an addition: `flush` before a read of the sets.
local additions = {}
local function add_later(key, score, member)
    local list = additions[key]
    if not list then
        list = {}
        additions[key] = list
    end
    list[#list + 1] = score
    list[#list + 1] = member
end

local function flush()
    for key, list in pairs(additions) do
        in_pieces(list, 1000, function(...) call('ZADD', key, ...) end)
    end
    additions = {}
end

-- One page of a sorted set behind a place in it, with the scores. The place may no longer be a member: the function
-- adds a member that sorts right behind it for a moment, to get its rank.
local function page_after(key, score, member, limit)
    local start = 0
    if member ~= '' then
        local probe = member .. '\0'
        call('ZADD', key, score, probe)
        start = call('ZRANK', key, probe)
        call('ZREM', key, probe)
    end
    return call('ZRANGE', key, start, start + limit - 1, 'WITHSCORES')
end

-- A job is a hash `q:j:<id>`: s state (q queued, r running, b dead letter), l lane, p priority, d due, t token, e
-- errors, c crashes, m last error, w dead letter at; a, b and g are due, lane and priority of the run that follows the
-- present one. Each lane and priority has one line of queued jobs, ordered by due; `q:p:<lane>` has the priorities of
-- the lines. `q:i` has every job under its state, for listings; `q:r` has the running ones by the end of their lease.
local notified = false
local known_lines = {}

local function job_key(id) return PREFIX .. 'q:j:' .. id end
local function line_key(lane, priority) return PREFIX .. 'q:l:' .. lane .. ':' .. priority end

local function lower(one, other)
    local a, b = tonumber(one or ''), tonumber(other or '')
    if not a or (b and b < a) then return other end
    return one
end

-- Reads a job. A damaged job must not end a script that works on others too. A key of another type is no job, and is
-- removed.
local function job_fields(id, ...)
    local found = redis.pcall('HMGET', job_key(id), ...)
    if not found.err then return found end
    if not string.find(found.err, 'WRONGTYPE', 1, true) then return call('HMGET', job_key(id), ...) end
    call('DEL', job_key(id))
    return {}
end

-- An existing line for a job with an unreadable lane or priority.
local function line_of(lane, priority)
    if lane ~= '0' and lane ~= '1' then lane = '1' end
    if not string.match(priority or '', '^%d+$') then priority = PRIORITY end
    return lane, priority
end

-- Adds one to a counter of a job.
local function count_up(id, field)
    local counted = redis.pcall('HINCRBY', job_key(id), field, 1)
    if type(counted) == 'table' then call('HSET', job_key(id), field, 1) end
end

local function stand_in_line(id, was, lane, priority, due)
    local at = int(due)
    call('HSET', job_key(id), 's', 'q', 'l', lane, 'p', priority, 'd', at)
    add_later(line_key(lane, priority), at, id)
    local line = lane .. ':' .. priority
    if not known_lines[line] then
        known_lines[line] = true
        call('ZADD', PREFIX .. 'q:p:' .. lane, priority, priority)
    end
    if was ~= 'q' then
        if was then call('ZREM', PREFIX .. 'q:i', was .. id) end
        add_later(PREFIX .. 'q:i', 0, 'q' .. id)
    end
    -- Also for a job that is due later: a sleeping worker must learn of it.
    notified = true
end

-- Adds a job, or merges it with the present one: 0 queued, 1 merged, 2 runs once more, 3 stays a dead letter. Without
-- `revive` a present job stays unchanged: no data changed, and its worker knows better when to try again.
local function enqueue(id, lane, due, priority, revive)
    local key = job_key(id)
    local job = job_fields(id, 's', 'l', 'p', 'd', 'a', 'b', 'g')
    local state = job[1]
    if not state then
        stand_in_line(id, false, lane, priority, due)
        return 0
    elseif not revive then
        if state == 'b' then return 3 end
        -- A job in no line and without a worker is damaged: no worker would ever find it.
        local place = state == 'r' and PREFIX .. 'q:r' or line_key(line_of(job[2], job[3]))
        if call('ZSCORE', place, id) then return 1 end
        call('DEL', key)
        stand_in_line(id, state, lane, priority, due)
        return 0
    end
    if state == 'q' then
        local to_lane, to_priority = lower(job[2], lane), lower(job[3], priority)
        local to_due = math.min(tonumber(job[4] or '') or due, due)
        if to_lane ~= job[2] or tonumber(to_priority) ~= tonumber(job[3]) or to_due ~= tonumber(job[4]) then
            flush()
            call('ZREM', line_key(line_of(job[2], job[3])), id)
            stand_in_line(id, 'q', to_lane, to_priority, to_due)
        end
        return 1
    elseif state == 'r' then
        call('HSET', key, 'a', int(lower(job[5], due)), 'b', lower(job[6], lane), 'g', lower(job[7], priority))
        return 2
    end
    call('HDEL', key, 'e', 'c', 'm', 'w')
    stand_in_line(id, 'b', lane, priority, due)
    return 0
end

local function put_back(id, lane, priority, due)
    call('ZREM', PREFIX .. 'q:r', id)
    call('HDEL', job_key(id), 't', 'a', 'b', 'g')
    stand_in_line(id, 'r', lane, priority, due)
end

local function forget_job(id, state, lane, priority)
    if state == 'q' then call('ZREM', line_key(line_of(lane, priority)), id) end
    if state == 'r' then call('ZREM', PREFIX .. 'q:r', id) end
    call('ZREM', PREFIX .. 'q:i', state .. id)
    call('DEL', job_key(id))
end

-- Removes a job that does not run; a running one does not run once more.
local function take_back(id)
    local job = job_fields(id, 's', 'l', 'p')
    if not job[1] then return end
    if job[1] == 'r' then
        call('HDEL', job_key(id), 'a', 'b', 'g')
        return
    end
    forget_job(id, job[1], job[2], job[3])
end

-- Ends a script that may have added jobs: wakes waiting workers. The message is only a hint, so a user may lack the
-- right to publish.
local function finish_jobs()
    flush()
    if notified then redis.pcall('PUBLISH', PREFIX .. 'notifier', '') end
end
