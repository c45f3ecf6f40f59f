-- Prepended to the scripts of the store, behind lib.lua: records, edges, runs and their validity.
--
-- A record is a hash `r:<id>`: h header (version, stored at and expiry as eight bytes each, then the epochs), v value,
-- m meta, k call, u used dependencies (sixteen bytes and 1 direct or 0 child, each). The other fields are there only
-- when they apply: s staleness (1 maybe stale or 2 stale, then since when), c causes, z lazy, n conflicts, f failures,
-- l the last failure.
-- ARGV[1] says whether this store writes jobs (1) or reports the ids that need one (0).
local JOBS = ARGV[1] == '1'
local DIRECT, CHILD = '1', '0'
local USED, EPOCHS_AT = 17, 25
local RECOMPUTE, PROPAGATION = '1', '0'
local reported = {}

local function record_key(id) return PREFIX .. 'r:' .. id end
local function edge_key(dependency) return PREFIX .. 'd:' .. dependency end

-- Reads fields of a record. A damaged record must not end a script halfway, while everything else is whole. Returns nil
-- where the key is of another type, and so no record.
local function fields_of(id, ...)
    local found = redis.pcall('HMGET', record_key(id), ...)
    if not found.err then return found end
    if string.find(found.err, 'WRONGTYPE', 1, true) then return nil end
    return call('HMGET', record_key(id), ...)
end

local function count_of(text)
    local digits = text and string.match(text, '^%d+$')
    return digits and #digits <= 15 and tonumber(digits) or 0
end

-- The staleness (1 or 2) and its time; nil for a fresh record. An unreadable one is stale, without a time.
local function staleness_of(text)
    if not text then return nil end
    local level, since = string.match(text, '^([12])(%d+)$')
    if level and #since <= 15 then return level, since end
    return '2', nil
end

-- The epochs of the validity; a script reads them once.
local epochs_now
local function present_epochs()
    if not epochs_now then
        local fields = call('HGETALL', PREFIX .. 'v')
        epochs_now = { sources = {} }
        for at = 1, #fields, 2 do
            if fields[at] == 'e' then
                epochs_now.global = fields[at + 1]
            elseif fields[at] ~= 'a' then
                epochs_now.sources[string.sub(fields[at], 3)] = string.sub(fields[at + 1], 1, 16)
            end
        end
    end
    return epochs_now
end

-- Whether epochs, written as the global one and then (length, source, epoch) each, differ from the present ones.
local function of_old_epoch(bytes, at)
    local now = present_epochs()
    if string.sub(bytes, at, at + 15) ~= now.global then return true end
    at = at + 16
    while at <= #bytes do
        local length = string.byte(bytes, at)
        local source = string.sub(bytes, at + 1, at + length)
        if now.sources[source] ~= string.sub(bytes, at + length + 1, at + length + 16) then return true end
        at = at + length + 17
    end
    return false
end

-- The field `a` of `v` is until when sources that the application reports are confirmed, as eight bytes. A source of
-- the validity is the field `s:<source>` of `v`: epoch, a application or f feed, until when the feed confirms it as
-- eight bytes, and the incarnation that may confirm (empty: none).
local function source_of(bytes)
    local kind = string.sub(bytes, 17, 17)
    if #bytes < 25 or (kind ~= 'a' and kind ~= 'f') then return nil end
    return { epoch = string.sub(bytes, 1, 16), kind = kind, valid_until = from_u64(bytes, 18), caught_up_on = string.sub(bytes, 26) }
end

-- Returns a source, or nil if it is missing or unreadable; and whether the field exists, so that entries may depend on
-- it.
local function read_source(source)
    local bytes = call('HGET', PREFIX .. 'v', 's:' .. source)
    if not bytes then return nil, false end
    return source_of(bytes), true
end

local function write_source(source, is)
    call('HSET', PREFIX .. 'v', 's:' .. source, is.epoch .. is.kind .. u64(is.valid_until) .. is.caught_up_on)
end

-- Starts the search for entries of old epochs again.
local function ask_for_sweep() call('HINCRBY', PREFIX .. 'c', 'sg', 1) end

-- Adds a cause to (two bytes of length, text) each, the newest last. Unreadable causes are dropped.
local packed = {}
local function add_cause(causes, cause)
    local one = packed[cause]
    if not one then
        one = struct.pack('>I2', #cause) .. cause
        packed[cause] = one
    end
    if not causes or causes == '' then return one end
    local starts, at = {}, 1
    while at <= #causes do
        starts[#starts + 1] = at
        if at == #causes then return one end
        at = at + 2 + struct.unpack('>I2', causes, at)
    end
    if at ~= #causes + 1 then return one end
    if string.sub(causes, starts[#starts]) == one then return causes end
    if #starts >= CAUSES then causes = string.sub(causes, starts[#starts - CAUSES + 2]) end
    return causes .. one
end

-- Data changed, so the entry may succeed now: a dead letter comes back.
local function want_job(id, must_run, due)
    if JOBS then
        enqueue(id, must_run and RECOMPUTE or PROPAGATION, due, PRIORITY, true)
    else
        reported[#reported + 1] = id
    end
end

-- Marks an entry at least as stale as given. A stale entry is marked too: the process that marked it may have died
-- before it queued the job. Returns the staleness (1 or 2) and whether the entry is lazy; nil where there is no record.
local function mark_stale(id, must_run, cause)
    local key = record_key(id)
    local record = fields_of(id, 'h', 's', 'z', 'c')
    if not record or not record[1] then return nil end
    local was, listed = staleness_of(record[2])
    local lazy = record[3]
    local level = (must_run or was == '2') and '2' or '1'
    local since = listed or int(NOW)
    if cause == '' then
        call('HSET', key, 's', level .. since)
    else
        call('HSET', key, 's', level .. since, 'c', add_cause(record[4], cause))
    end
    if not listed then
        if lazy then call('SADD', PREFIX .. 'z', id) else add_later(PREFIX .. 's', since, id) end
    end
    return level, lazy
end

-- A run was aborted or its worker died: a record that is stale, by its mark or its epochs, needs another run. No data
-- changed, so an existing job stays unchanged.
local function want_job_after_run(id, due)
    local record = fields_of(id, 'h', 's', 'z')
    if not record or not record[1] or record[3] then return end
    local must_run = staleness_of(record[2]) == '2' or of_old_epoch(record[1], EPOCHS_AT)
    if not must_run and not record[2] then return end
    if JOBS then
        enqueue(id, must_run and RECOMPUTE or PROPAGATION, due, PRIORITY, false)
    else
        reported[#reported + 1] = id
    end
end

local function drop_run(id)
    call('HDEL', PREFIX .. 'run', id)
    call('ZREM', PREFIX .. 'run:l', id)
    call('ZREM', PREFIX .. 'run:s', id)
end

local function forget_record(id)
    call('ZREM', PREFIX .. 'x', id)
    call('ZREM', PREFIX .. 's', id)
    call('SREM', PREFIX .. 'z', id)
end

-- Removes a record with its edges. Returns whether there was one, and how many edges it had.
local function remove_record(id)
    local used = call('HGET', record_key(id), 'u')
    if used then
        for at = 1, #used - USED + 1, USED do
            call('HDEL', edge_key(string.sub(used, at, at + 15)), id)
        end
    end
    local there = call('DEL', record_key(id)) == 1
    forget_record(id)
    return there, used and #used / USED or 0
end

-- Drops revisions of invalidations with which no run compares any more. A run whose lease has lapsed may still commit.
local function trim(limit)
    local revisions = PREFIX .. 'n'
    local oldest = call('ZRANGE', PREFIX .. 'run:s', 0, 0, 'WITHSCORES')[2] or call('HGET', PREFIX .. 'c', 'k') or '0'
    local old = call('ZRANGEBYSCORE', revisions, '-inf', oldest, 'WITHSCORES', 'LIMIT', 0, limit)
    if #old == 0 then return 0 end
    local dependencies = {}
    for at = 1, #old, 2 do dependencies[#dependencies + 1] = old[at] end
    in_pieces(dependencies, 1000, function(...) call('ZREM', revisions, ...) end)
    local low_watermark = tonumber(call('HGET', PREFIX .. 'c', 'f') or '0')
    if tonumber(old[#old]) > low_watermark then call('HSET', PREFIX .. 'c', 'f', old[#old]) end
    return #dependencies
end
