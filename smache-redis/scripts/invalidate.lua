-- phase, nonce, place, cursor, budget, number of changed dependencies, number of entries, step (0 none, 1 check, 2
-- check and save), then (dependency, cause) for each changed dependency, (id, cause) for each entry, and the step
-- → -1 fenced | place, cursor, revision, marked, ids that need a job; place 0 at the end
--
-- Phase `all` walks from a place on and finishes at the end; a page before the end announces as well, so that a run
-- that commits meanwhile finds the mark. `announce`, `walk` and `finish` are the parts for an invalidation that is too
-- large for one set of arguments: it announces everything before the first walk, and walks everything before the first
-- finish.
--
-- The nonce is unique to this attempt. The leader of a feed that comes to the end also withdraws the marks of earlier
-- attempts of that feed on the walked dependencies: their names have the same start and sort before it.
local phase, nonce, place, cursor, budget = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local changed, entries, step = tonumber(ARGV[7]), tonumber(ARGV[8]), nil
if ARGV[9] ~= '0' then
    step = read_step(10 + 2 * (changed + entries))
    if is_fenced(step) then return { -1 } end
end
local function what(item) return ARGV[8 + 2 * item] end
local function cause(item) return ARGV[9 + 2 * item] end

local marks, deadlines = PREFIX .. 'm', PREFIX .. 'md'

local function announce()
    for item = 1, changed do
        local dependency = what(item)
        local nonces = call('HGET', marks, dependency) or ''
        local known = false
        for at = 1, #nonces, 16 do known = known or string.sub(nonces, at, at + 15) == nonce end
        if not known then call('HSET', marks, dependency, nonces .. nonce) end
        call('ZADD', deadlines, int(NOW + MARK_LIFETIME), dependency .. nonce)
    end
end

local function ends(mark)
    if mark == nonce then return true end
    return step and string.sub(mark, 1, 6) == string.sub(nonce, 1, 6) and sorts_before(mark, nonce)
end

local function withdraw()
    if call('EXISTS', marks) == 0 then return end
    for item = 1, changed do
        local dependency, left = what(item), ''
        local nonces = call('HGET', marks, dependency)
        if nonces then
            for at = 1, #nonces, 16 do
                local other = string.sub(nonces, at, at + 15)
                if ends(other) then call('ZREM', deadlines, dependency .. other) else left = left .. other end
            end
            if left == '' then call('HDEL', marks, dependency) else call('HSET', marks, dependency, left) end
        end
    end
end

-- The jobs come last: for an entry that is affected twice, the higher staleness decides the lane of its job.
local marked, levels, lazies = {}, {}, {}
local function mark(id, must_run, text)
    local level, lazy = mark_stale(id, must_run, text)
    if not level then return false end
    if not levels[id] then marked[#marked + 1] = id end
    levels[id], lazies[id] = level, lazy
    return true
end

-- The places are the entries first and then the changed dependencies, so that the announcing page marks named entries.
local function walk()
    while place <= changed + entries and budget > 0 do
        if place <= entries then
            mark(what(changed + place), true, cause(changed + place))
            budget = budget - 1
            place = place + 1
        else
            local item = place - entries
            local edges = edge_key(what(item))
            -- Each entry costs more where very many are affected: their sets are larger.
            if call('HLEN', edges) > 20000 then budget = math.min(budget, 140) end
            -- A scan returns everything that is in the hash during the whole scan, and an entry that comes in meanwhile
            -- sees the mark.
            local page = call('HSCAN', edges, cursor, 'COUNT', budget)
            local found = page[2]
            for at = 1, #found, 2 do
                if not mark(found[at], found[at + 1] == DIRECT, cause(item)) then call('HDEL', edges, found[at]) end
            end
            budget = budget - #found / 2
            cursor = page[1]
            if cursor == '0' then place = place + 1 end
        end
    end
    return place > changed + entries
end

local function save_step()
    for _, position in ipairs(step.positions) do
        if save_position(position, false) then
            local source, was = read_source(position.source)
            -- A new epoch replaces an unreadable source.
            if was and not source then ask_for_sweep() end
            source = source or { epoch = position.epoch, kind = 'f', valid_until = 0, caught_up_on = '' }
            if step.valid_for and source.kind == 'f' then
                source.valid_until = math.min(NOW + step.valid_for, step.deadline or math.huge)
            end
            if step.caught_up then source.caught_up_on = step.incarnation end
            write_source(position.source, source)
        end
    end
    renew_leadership(step)
end

local function finish()
    if changed + entries > 0 then
        local revision = int(call('HINCRBY', PREFIX .. 'c', 'k', 1))
        local revisions = {}
        for item = 1, changed do
            revisions[#revisions + 1] = revision
            revisions[#revisions + 1] = what(item)
        end
        in_pieces(revisions, 1000, function(...) call('ZADD', PREFIX .. 'n', ...) end)
        withdraw()
        if call('ZCARD', PREFIX .. 'n') > REMEMBERED_CHANGES then trim(1000) end
    end
    if ARGV[9] == '2' then save_step() end
end

local done = true
if phase == 'announce' then
    announce()
elseif phase == 'walk' then
    done = walk()
elseif phase == 'finish' then
    finish()
else
    done = walk()
    if done then finish() else announce() end
end
for _, id in ipairs(marked) do
    if not lazies[id] then want_job(id, levels[id] == '2', NOW) end
end
finish_jobs()
return { done and 0 or place, cursor, tonumber(call('HGET', PREFIX .. 'c', 'k') or '0'), #marked, reported }
