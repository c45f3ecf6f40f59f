-- ids → how many jobs were removed
local count = 0
for _, id in ipairs(ARGV) do
    local job = job_fields(id, 's', 'l', 'p')
    if job[1] == 'q' or job[1] == 'b' then
        forget_job(id, job[1], job[2], job[3])
        count = count + 1
    end
end
return count
