-- (id, token, end, delay, error) each; end is d done, l release, r retry or b dead_letter → 0 settled, 1 again, 2 lost
local function settle(id, token, how, delay, text)
    local key = job_key(id)
    local job = job_fields(id, 's', 't', 'l', 'p', 'a', 'b', 'g')
    if job[1] ~= 'r' or job[2] ~= token then return 2 end
    local lane, priority = line_of(job[3], job[4])
    local again = job[5] and tonumber(job[5])
    local near, nearer = lane, priority
    if again then near, nearer = lower(job[6], lane), lower(job[7], priority) end

    if how == 'l' then
        put_back(id, near, nearer, again and math.min(again, NOW + delay) or NOW + delay)
    elseif how == 'r' then
        count_up(id, 'e')
        call('HSET', key, 'm', text)
        -- The later time: a failing job backs off, even when it is requested all the time.
        put_back(id, near, nearer, again and math.max(again, NOW + delay) or NOW + delay)
    elseif again then
        -- As a change of a dead letter, or of a job that is done: it starts again, in the requested lane.
        call('HDEL', key, 'e', 'c', 'm')
        put_back(id, (line_of(job[6], nearer)), nearer, again)
    elseif how == 'd' then
        forget_job(id, 'r')
    else
        call('ZREM', PREFIX .. 'q:r', id)
        call('ZREM', PREFIX .. 'q:i', 'r' .. id)
        call('ZADD', PREFIX .. 'q:i', 0, 'b' .. id)
        call('HDEL', key, 't', 'd')
        call('HSET', key, 's', 'b', 'm', text, 'w', int(NOW))
    end
    return again and 1 or 0
end

local answers = {}
for at = 1, #ARGV, 5 do
    answers[#answers + 1] = settle(ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4])
end
finish_jobs()
return answers
