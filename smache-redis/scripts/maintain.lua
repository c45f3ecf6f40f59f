-- limit, random epoch → expired, reaped, trimmed, marked, more, (overdue mark, its deadline) each, ids that need a job
local limit = tonumber(ARGV[2])

-- Replaces unreadable fields of the validity and the counters. Their entries then have an old epoch.
local function heal()
    local validity, counts, damaged = PREFIX .. 'v', PREFIX .. 'c', false
    local fields = call('HGETALL', validity)
    for at = 1, #fields, 2 do
        local name, bytes = fields[at], fields[at + 1]
        if name == 'e' then
            if #bytes ~= 16 then
                call('HSET', validity, 'e', ARGV[3])
                damaged = true
            end
        elseif name == 'a' then
            if #bytes ~= 8 then call('HDEL', validity, 'a') end
        elseif string.sub(name, 1, 2) ~= 's:' or not source_of(bytes) then
            call('HDEL', validity, name)
            damaged = true
        end
    end
    local numbers = call('HMGET', counts, 'k', 'f', 'sg')
    if numbers[1] and not whole_count(numbers[1]) then
        -- In microseconds: no revision that counts changes is as large.
        numbers[1] = int(NOW * 1000)
        call('HSET', counts, 'k', numbers[1])
        call('HSET', validity, 'e', ARGV[3])
        -- Runs of the new epoch have begun after all of these changes.
        call('DEL', PREFIX .. 'n')
        damaged = true
    end
    if numbers[2] and not whole_count(numbers[2]) then call('HSET', counts, 'f', numbers[1] or '0') end
    if numbers[3] and not whole_count(numbers[3]) then
        call('HDEL', counts, 'sg', 'sd', 'sw', 'ss', 'si')
        damaged = true
    end
    if damaged then
        ask_for_sweep()
        redis.log(redis.LOG_WARNING, 'smache: unreadable state of ' .. PREFIX .. ' starts a new epoch')
    end
end
heal()

-- The most edges that one call removes: an entry with thousands of them takes one call.
local budget = 5000
local more = false

-- Expired entries, unless a run holds them: fetched with room for those, which would block the others. A run whose lease
-- has lapsed may be late and commits after all, until it is reaped.
local expired = 0
local running = math.min(call('ZCARD', PREFIX .. 'run:l'), 1000)
for _, id in ipairs(call('ZRANGEBYSCORE', PREFIX .. 'x', '-inf', int(NOW), 'LIMIT', 0, limit + running + 1)) do
    local ends = call('ZSCORE', PREFIX .. 'run:l', id)
    if not ends or tonumber(ends) <= NOW then
        if expired >= limit or budget <= 0 then
            more = true
            break
        end
        local edges = 0
        -- A key of another type in the record's place stays.
        if fields_of(id, 'h') then edges = select(2, remove_record(id)) else forget_record(id) end
        if JOBS then take_back(id) end
        expired = expired + 1
        budget = budget - edges
    end
end

-- Runs whose lease has lapsed: their worker died. The time after its end lets a slow worker commit after all.
local reaped = 0
for _, id in ipairs(call('ZRANGEBYSCORE', PREFIX .. 'run:l', '-inf', int(NOW - REAP_AFTER - 1), 'LIMIT', 0, limit)) do
    drop_run(id)
    want_job_after_run(id, NOW)
    reaped = reaped + 1
end
if reaped == limit then more = true end

local trimmed = trim(limit)
if trimmed == limit then more = true end

-- Entries of old epochs, in the order of their expiry. A commit on the way moves an entry to another place; that entry
-- has the present epoch or is marked already.
local marked = 0
local counts = PREFIX .. 'c'
local sweep = call('HMGET', counts, 'sg', 'sd', 'sw', 'ss', 'si')
if sweep[1] and sweep[1] ~= sweep[2] then
    local score, from = sweep[4] or '', sweep[5] or ''
    if sweep[3] ~= sweep[1] then score, from = '', '' end
    local page = page_after(PREFIX .. 'x', score, from, limit)
    for at = 1, #page, 2 do
        local record = fields_of(page[at], 'h')
        if record and record[1] and of_old_epoch(record[1], EPOCHS_AT) then
            local _, lazy = mark_stale(page[at], true, NEW_EPOCH)
            if not lazy then want_job(page[at], true, NOW) end
            marked = marked + 1
        end
    end
    if #page < 2 * limit then
        call('HSET', counts, 'sd', sweep[1])
        call('HDEL', counts, 'sw', 'ss', 'si')
    else
        call('HSET', counts, 'sw', sweep[1], 'ss', page[#page], 'si', page[#page - 1])
        more = true
    end
end

-- Marks that were announced and not finished in time: the reader redoes them. The deadline identifies a renewed mark.
local overdue = call('ZRANGEBYSCORE', PREFIX .. 'md', '-inf', int(NOW), 'WITHSCORES', 'LIMIT', 0, math.min(limit, 100))
finish_jobs()
return { expired, reaped, trimmed, marked, more and 1 or 0, overdue, reported }
