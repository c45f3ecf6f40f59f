-- ids → how many were buried
local count = 0
for _, id in ipairs(ARGV) do
    local job = call('HMGET', job_key(id), 's', 'l', 'p')
    if job[1] == 'b' then
        enqueue(id, job[2], NOW, job[3], true)
        count = count + 1
    end
end
finish_jobs()
return count
