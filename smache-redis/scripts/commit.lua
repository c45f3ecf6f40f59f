-- id, token, start_revision, epochs, call, value, meta, used, guards, ttl, not after, tainted, lazy, delay, version,
-- how many are reported
-- → 0 lost | 1 fresh, now | 2 conflicted, now, dependencies | 3 conflict reported, now, revision, dependencies
local id, token, start_revision, epochs = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local version, most_reported = tonumber(ARGV[16]), tonumber(ARGV[17])
local used, guards = ARGV[9], ARGV[10]
local tainted, lazy, delay = ARGV[13] == '1', ARGV[14] == '1', tonumber(ARGV[15])

local run = call('HGET', PREFIX .. 'run', id)
if not run or string.sub(run, 1, 16) ~= token or from_u64(run, 17) ~= start_revision then return { 0 } end

-- All reads come before the first write: the server refuses a script for lack of memory only at its first write, so a
-- refused commit has changed nothing.
local dependencies, must_run_if_changed = {}, {}
for at = 1, #used, USED do
    dependencies[#dependencies + 1] = string.sub(used, at, at + 15)
    must_run_if_changed[#dependencies] = string.sub(used, at + 16, at + 16) == DIRECT
end
for at = 1, #guards, 16 do
    dependencies[#dependencies + 1] = string.sub(guards, at, at + 15)
    must_run_if_changed[#dependencies] = true
end

local changed = changed_after(version, dependencies)
local conflicts, named, must_run = {}, {}, tainted
for at = 1, #dependencies do
    if changed[at] then
        -- A dependency may be used and guarded at once.
        if not named[dependencies[at]] then conflicts[#conflicts + 1] = dependencies[at] end
        named[dependencies[at]] = true
        must_run = must_run or must_run_if_changed[at]
    end
end
local old = of_old_epoch(epochs, 1)
if not tainted and not old and version >= low_watermark and #conflicts > 0 and #conflicts <= most_reported then
    return { 3, NOW, revision, unpack(conflicts) }
end
must_run = must_run or old
local stale = must_run or #conflicts > 0

local key = record_key(id)
local before = call('HMGET', key, 'u', 's', 'z', 'n', 'h')
local _, was_since = staleness_of(before[2])
local since = stale and was_since or int(NOW)

local expires = ''
if ARGV[11] ~= '' then expires = NOW + tonumber(ARGV[11]) end
if ARGV[12] ~= '' then
    local not_after = tonumber(ARGV[12])
    expires = expires == '' and not_after or math.min(expires, not_after)
end

local header = u64(version) .. u64(NOW) .. u64(expires == '' and 0 or math.max(expires, 1)) .. epochs
call('HSET', key, 'h', header, 'v', ARGV[7], 'm', ARGV[8], 'k', ARGV[6], 'u', used)
call('HDEL', key, 'f', 'l', lazy and '-' or 'z', stale and '-' or 's', stale and '-' or 'c', stale and '-' or 'n')
if lazy then call('HSET', key, 'z', '1') end
if stale then
    call('HSET', key, 's', (must_run and '2' or '1') .. since, 'n', int(count_of(before[4]) + 1))
end
call('ZADD', PREFIX .. 'x', expires == '' and '+inf' or int(expires), id)
if before[2] then
    call('ZREM', PREFIX .. 's', id)
    call('SREM', PREFIX .. 'z', id)
end
if stale then
    if lazy then call('SADD', PREFIX .. 'z', id) else call('ZADD', PREFIX .. 's', since, id) end
end

-- An invalidation removes the edges of a record without a header, and the edges of a record with other damage are
-- unknown: all of them are written again.
local whole = before[5] and #before[5] >= EPOCHS_AT + 15 and #(before[1] or '') % USED == 0
local had = {}
if before[1] then
    for at = 1, #before[1] - USED + 1, USED do
        had[string.sub(before[1], at, at + 15)] = string.sub(before[1], at + 16, at + 16)
    end
end
for at = 1, #used, USED do
    local dependency, via = string.sub(used, at, at + 15), string.sub(used, at + 16, at + 16)
    if not whole or had[dependency] ~= via then call('HSET', edge_key(dependency), id, via) end
    had[dependency] = nil
end
for dependency in pairs(had) do call('HDEL', edge_key(dependency), id) end

drop_run(id)
if JOBS then
    if not stale then
        take_back(id)
    elseif not lazy then
        want_job(id, must_run, NOW + delay)
    end
end
finish_jobs()
if not stale then return { 1, NOW } end
return { 2, NOW, unpack(conflicts, 1, math.min(#conflicts, NAMED_CONFLICTS)) }
