-- → queued in the propagation lane, queued in the recompute lane, running, dead letters
local function queued(lane)
    local count = 0
    for _, priority in ipairs(call('ZRANGE', PREFIX .. 'q:p:' .. lane, 0, -1)) do
        count = count + call('ZCARD', line_key(lane, priority))
    end
    return count
end
return { queued('0'), queued('1'), call('ZCARD', PREFIX .. 'q:r'), call('ZLEXCOUNT', PREFIX .. 'q:i', '[b', '(c') }
