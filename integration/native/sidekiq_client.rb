# Gives Sidekiq its jobs and waits for what they do. Usage: ruby sidekiq_client.rb, beside `sidekiq -r
# sidekiq_jobs.rb`; POINTSMAN_PORT says where.
require_relative "sidekiq_jobs"

def eventually(name)
  deadline = Time.now + 30
  until yield
    abort "#{name}: not within 30 s" if Time.now > deadline
    sleep 0.02
  end
  puts "ok #{name}"
end

def stored(key)
  Sidekiq.redis { |redis| redis.get("sk:#{key}") }.to_i
end

100.times { Count.perform_async("many", 1) }
eventually("many jobs") { stored("many") == 100 }
Count.perform_bulk(Array.new(100) { ["bulk", 1] })
eventually("jobs in bulk") { stored("bulk") == 100 }
Count.set(queue: "low").perform_async("low", 3)
eventually("a second queue") { stored("low") == 3 }
Count.perform_in(1, "later", 7)
eventually("a scheduled job") { stored("later") == 7 }
Flaky.perform_async("flaky")
eventually("a job that is tried again") { stored("flaky") == 2 }
Dies.perform_async
eventually("a job that fails for good") { Sidekiq::Stats.new.failed >= 2 }
stats = Sidekiq::Stats.new
eventually("the statistics") { Sidekiq::Stats.new.processed >= 203 }
eventually("the process list") { Sidekiq::ProcessSet.new.size == 1 }
abort "queues: #{stats.queues}" unless stats.queues.key?("default")
puts "ok queues"
