-- Takes of all buckets or of none. See remote.rs; the formula is that of Quota in tidegate-resilience.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local passes, rooms, debts = 1, {}, {}
for i, key in ipairs(KEYS) do
  local price, capacity = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
  local debt = 0
  -- When the bucket will be full: microseconds, and nanoseconds beyond them.
  local us, ns = string.match(redis.call('GET', key) or '', '^(%d+):(%d+)$')
  if us then
    debt = math.min(math.max((us - now) * 1000 + ns, 0), capacity)
  end
  debts[i] = debt
  rooms[i] = debt + price <= capacity and 1 or 0
  if rooms[i] == 0 and ARGV[3 * i] == '1' then
    passes = 0
  end
end
local answer = { passes }
for i, key in ipairs(KEYS) do
  local debt = debts[i]
  if rooms[i] == 1 then
    debt = debt + tonumber(ARGV[3 * i - 2])
    if passes == 1 then
      local us = now + math.floor(debt / 1000)
      redis.call('SET', key, string.format('%.0f:%.0f', us, debt % 1000), 'PX', math.floor(debt / 1000000) + 1)
    end
  end
  answer[2 * i] = rooms[i]
  answer[2 * i + 1] = debt
end
return answer
