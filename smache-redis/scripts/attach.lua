-- incarnation, layout, then (source, random epoch) each → the layout of the namespace: nothing happens if it is another one
local incarnation, changed = ARGV[2], false
call('HSETNX', PREFIX .. 'c', 'l', ARGV[3])
local layout = call('HGET', PREFIX .. 'c', 'l')
if layout ~= ARGV[3] then return tonumber(layout) or 0 end
for at = 4, #ARGV, 2 do
    local source = read_source(ARGV[at])
    if not source or source.kind ~= 'a' or source.armed ~= incarnation then
        changed = changed or source ~= nil
        write_source(ARGV[at], { epoch = ARGV[at + 1], kind = 'a', lease = 0, armed = incarnation })
    end
end
if changed then ask_for_sweep() end
return tonumber(layout)
