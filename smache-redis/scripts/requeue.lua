-- ids → how many were dead letters
local count = 0
for _, id in ipairs(ARGV) do
    local job = job_fields(id, 's', 'l', 'p')
    if job[1] == 'b' then
        local lane, priority = line_of(job[2], job[3])
        enqueue(id, lane, NOW, priority, true)
        count = count + 1
    end
end
finish_jobs()
return count
