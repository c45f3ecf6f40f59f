-- incarnation, how long to confirm, then (source, random epoch) each: keys of another layout stay unchanged
local incarnation, changed = ARGV[2], false
call('HSETNX', PREFIX .. 'c', 'l', LAYOUT)
local layout = call('HGET', PREFIX .. 'c', 'l')
if layout ~= LAYOUT then return other_layout(layout) end
for at = 4, #ARGV, 2 do
    local source = read_source(ARGV[at])
    if not source or source.kind ~= 'a' or source.caught_up_on ~= incarnation then
        changed = true
        write_source(ARGV[at], { epoch = ARGV[at + 1], kind = 'a', valid_until = 0, caught_up_on = incarnation })
    end
end
call('HSET', PREFIX .. 'v', 'a', u64(NOW + tonumber(ARGV[3])))
if changed then ask_for_sweep() end
return 1
