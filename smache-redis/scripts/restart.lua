-- the step → 1 | -1 fenced
local step = read_step(2)
if is_fenced(step) then return -1 end
for _, position in ipairs(step.positions) do
    write_source(position.source, { epoch = position.epoch, kind = 'f', valid_until = 0, caught_up_on = '' })
    save_position(position, true)
end
call('HINCRBY', PREFIX .. 'c', 'k', 1)
ask_for_sweep()
renew_leadership(step)
return 1
