# redis-rb. Usage: ruby ruby.rb PORT
require "redis"

def ok(name, holds)
  abort "#{name}: not so" unless holds
  puts "ok #{name}"
end

port = Integer(ARGV.fetch(0))
redis = Redis.new(host: "127.0.0.1", port: port, timeout: 20, id: "golden", db: 0)
ok "start-up", redis.get("golden:start").nil?
ok "its name", redis.call("CLIENT", "GETNAME") == "golden"
keys = Array.new(200) { |n| "rb:#{n}" }
redis.mset(*keys.each_with_index.to_a.flatten)
ok "keys over all slots", redis.mget(*keys) == Array.new(200, &:to_s) && redis.del(*keys) == 200
replies = redis.pipelined do |pipeline|
  300.times do |n|
    pipeline.set("rb:p:#{n}", n)
    pipeline.get("rb:p:#{n}")
  end
end
ok "a pipeline", replies.each_slice(2).map(&:last) == Array.new(300, &:to_s)
ok "a transaction", redis.multi { |multi| multi.set("{rb}:m", 1); multi.incr("{rb}:m") } == ["OK", 2]
other = Redis.new(host: "127.0.0.1", port: port, timeout: 20)
aborted = redis.watch("rb:watched") do
  other.set("rb:watched", "theirs")
  redis.multi { |multi| multi.set("rb:watched", "mine") }
end
ok "a watched key that changes", aborted.nil?
script = "return redis.call('incrby', KEYS[1], ARGV[1])"
redis.del("rb:script")
ok "scripts", redis.eval(script, ["rb:script"], [2]) == 2 &&
              redis.evalsha(redis.script(:load, script), ["rb:script"], [3]) == 5
redis.rpush("rb:queue", "job")
ok "blpop", redis.blpop("rb:queue", timeout: 5) == ["rb:queue", "job"]
ok "blpop that ends empty", redis.blpop("rb:queue", timeout: 1).nil?
redis.hset("rb:hash", "a", "1")
ok "hash", redis.hgetall("rb:hash") == { "a" => "1" }
ok "scan", redis.scan_each(match: "rb:p:*").to_a.uniq.size == 300
begin
  redis.incr("rb:hash")
  ok "errors", false
rescue Redis::CommandError => error
  ok "errors", error.message.start_with?("WRONGTYPE")
end
ok "info", redis.info.key?("redis_version")
heard = nil
subscriber = Redis.new(host: "127.0.0.1", port: port, timeout: 20)
subscriber.subscribe_with_timeout(20, "rb:channel") do |on|
  on.subscribe { redis.publish("rb:channel", "hello") }
  on.message do |_, text|
    heard = text
    subscriber.unsubscribe
  end
end
ok "subscribe", heard == "hello"
redis.quit
