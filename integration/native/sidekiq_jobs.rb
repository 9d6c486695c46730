# The jobs of the Sidekiq test: what they do leaves its trace in Redis. Loaded by `sidekiq -r` and by
# sidekiq_client.rb.
require "sidekiq"
require "sidekiq/api"

# Sidekiq 6 calls redis-rb 4.8 in ways that a later one will not have; that is theirs to settle.
Redis.silence_deprecations = true

url = "redis://127.0.0.1:#{Integer(ENV.fetch("POINTSMAN_PORT"))}/0"
Sidekiq.configure_server do |config|
  config.redis = { url: url }
  # Scheduled and failed jobs are looked for this often, in seconds.
  config.options[:poll_interval_average] = 1
end
Sidekiq.configure_client { |config| config.redis = { url: url } }

class Count
  include Sidekiq::Worker
  sidekiq_options retry: 3
  sidekiq_retry_in { 1 }

  def perform(trace, number)
    Sidekiq.redis { |redis| redis.incrby("sk:#{trace}", number) }
  end
end

class Flaky < Count
  def perform(trace)
    tries = Sidekiq.redis { |redis| redis.incr("sk:#{trace}:tries") }
    raise "not yet" if tries < 2

    Sidekiq.redis { |redis| redis.set("sk:#{trace}", tries) }
  end
end

class Dies < Count
  sidekiq_options retry: 0

  def perform
    raise "never"
  end
end
