-- lease, then (id, token) each → whether each still holds
local answers = {}
for at = 2, #ARGV, 2 do
    local run = call('HGET', PREFIX .. 'run', ARGV[at])
    local holds = run and string.sub(run, 1, 16) == ARGV[at + 1]
    if holds then call('ZADD', PREFIX .. 'run:l', int(NOW + tonumber(ARGV[1])), ARGV[at]) end
    answers[#answers + 1] = holds and 1 or 0
end
return answers
