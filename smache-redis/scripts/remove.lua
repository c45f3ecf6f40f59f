-- id, token (empty: any) → whether there was something to remove
local id, token = ARGV[2], ARGV[3]
local run = call('HGET', PREFIX .. 'run', id)
if token ~= '' and (not run or string.sub(run, 1, 16) ~= token) then return 0 end
local there = remove_record(id)
if run then drop_run(id) end
if JOBS then take_back(id) end
return (there or run) and 1 or 0
