-- Take the given ids off the head of a list, as long as they stand there in this order: workers pop beside us.
-- KEYS: the list. ARGV: ids.
local count = 0
for i = 1, #ARGV do
  if redis.call('LINDEX', KEYS[1], 0) ~= ARGV[i] then
    break
  end
  redis.call('LPOP', KEYS[1])
  count = count + 1
end
return count
