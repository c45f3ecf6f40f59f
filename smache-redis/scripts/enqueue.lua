-- (id, lane, priority, delay, revive) each → the result of each
if not layout then call('HSET', PREFIX .. 'c', 'l', LAYOUT) end
local answers = {}
for at = 1, #ARGV, 5 do
    answers[#answers + 1] =
        enqueue(ARGV[at], ARGV[at + 1], NOW + tonumber(ARGV[at + 3]), ARGV[at + 2], ARGV[at + 4] == '1')
end
finish_jobs()
return answers
