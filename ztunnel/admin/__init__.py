"""What operators and probes ask: configuration, log level, metrics, readiness."""
