-- Places of one account. All times are microseconds of this server's clock.
--
-- KEYS[1] the lane:  who has a place or waits for one -> until when that is believed
-- KEYS[2] turns: who waits -> since when
-- So whoever is known and has no turn has a place. Who is not heard of any more is forgotten.
--
-- ARGV: take, width, lease, patience, holder  ->  1 when the holder has a place, 0 when it waits
--       keep, lease, holder...                    they have their places, whatever was known
--       give, channel, holder...                  they have none, and wait for none
local known, turns = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function believe(holder, lease)
  redis.call('ZADD', known, now + lease, holder)
end

local function stay(lease)
  redis.call('PEXPIRE', known, math.ceil(lease / 1000))
  redis.call('PEXPIRE', turns, math.ceil(lease / 1000))
end

if ARGV[1] == 'take' then
  local width, lease, patience, holder =
    tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', known, '-inf', now)) do
    redis.call('ZREM', known, gone)
    redis.call('ZREM', turns, gone)
  end
  redis.call('ZADD', turns, 'NX', now, holder)
  believe(holder, patience)
  local taken = redis.call('ZCARD', known) - redis.call('ZCARD', turns)
  local granted = redis.call('ZRANK', turns, holder) < width - taken
  if granted then
    redis.call('ZREM', turns, holder)
    believe(holder, lease)
  end
  stay(lease)
  return granted and 1 or 0
end

if ARGV[1] == 'keep' then
  local lease = tonumber(ARGV[2])
  for i = 3, #ARGV do
    redis.call('ZREM', turns, ARGV[i])
    believe(ARGV[i], lease)
  end
  stay(lease)
  return 1
end

for i = 3, #ARGV do
  redis.call('ZREM', known, ARGV[i])
  redis.call('ZREM', turns, ARGV[i])
end
if redis.call('EXISTS', turns) == 1 then
  redis.call('PUBLISH', ARGV[2], KEYS[1])
end
return 1
