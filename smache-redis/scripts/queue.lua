-- Prepended to the scripts of the queue, behind lib.lua: it refuses a namespace of another layout. The scripts of the
-- store need no check: a store checks once, when it attaches its sources.
local layout = call('HGET', PREFIX .. 'c', 'l')
if layout and layout ~= LAYOUT then return other_layout(layout) end
