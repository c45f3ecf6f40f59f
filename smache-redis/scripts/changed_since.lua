-- revision, then dependencies → revision, the changed dependencies
local dependencies = {}
for at = 2, #ARGV do dependencies[#dependencies + 1] = ARGV[at] end
local answer = { revision }
local changed = changed_after(tonumber(ARGV[1]), dependencies)
for at = 1, #dependencies do
    if changed[at] then answer[#answer + 1] = dependencies[at] end
end
return answer
