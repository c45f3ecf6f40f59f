-- lane, max, lease, token, whether it is repeated → next due from now (-1: none), then (id, errors, crashes) each
local lane, max, ends, token = ARGV[1], tonumber(ARGV[2]), int(NOW + tonumber(ARGV[3])), ARGV[4]
local AT_ONCE = 100

-- Jobs of any lane that were not settled in time: their worker vanished.
local lapsed = call('ZRANGEBYSCORE', PREFIX .. 'q:r', '-inf', int(NOW), 'LIMIT', 0, AT_ONCE)
for _, id in ipairs(lapsed) do
    local job = job_fields(id, 'l', 'p', 'b', 'g')
    count_up(id, 'c')
    local own, priority = line_of(job[1], job[2])
    put_back(id, lower(job[3], own), lower(job[4], priority), NOW)
end

flush()

local jobs, next_due = {}, -1
local function add(id)
    local counted = job_fields(id, 'e', 'c')
    jobs[#jobs + 1] = { id, tonumber(counted[1] or '0') or 0, tonumber(counted[2] or '0') or 0 }
end

-- A repeated request after a lost answer gets the jobs of its token. Only this case walks over the running jobs.
if ARGV[5] == '1' then
    for _, id in ipairs(call('ZRANGE', PREFIX .. 'q:r', 0, -1)) do
        local job = job_fields(id, 't', 'l')
        if job[1] == token and job[2] == lane then
            call('ZADD', PREFIX .. 'q:r', ends, id)
            add(id)
        end
    end
    if #jobs > 0 then max = 0 end
end

for _, priority in ipairs(call('ZRANGE', PREFIX .. 'q:p:' .. lane, 0, -1)) do
    local line = line_key(lane, priority)
    local due = max > #jobs and call('ZRANGEBYSCORE', line, '-inf', int(NOW), 'LIMIT', 0, max - #jobs) or {}
    for _, id in ipairs(due) do
        job_fields(id, 's')
        call('HSET', job_key(id), 's', 'r', 't', token, 'l', lane, 'p', priority)
        call('ZREM', line, id)
        call('ZADD', PREFIX .. 'q:r', ends, id)
        call('ZREM', PREFIX .. 'q:i', 'q' .. id)
        call('ZADD', PREFIX .. 'q:i', 0, 'r' .. id)
        add(id)
    end
    local first = call('ZRANGE', line, 0, 0, 'WITHSCORES')[2]
    if first then
        local wait = math.max(tonumber(first) - NOW, 0)
        if next_due < 0 or wait < next_due then next_due = wait end
    else
        call('ZREM', PREFIX .. 'q:p:' .. lane, priority)
    end
end
if #lapsed == AT_ONCE then next_due = 0 end
finish_jobs()
return { next_due, unpack(jobs) }
