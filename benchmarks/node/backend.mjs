// Where BullMQ keeps its jobs: in PostgreSQL when DATABASE_URL is set, else in Valkey.
import { createPostgresBackend } from 'bullmq';

const { CONCURRENCY, DATABASE_URL, REDIS_PORT } = process.env;
const POOL = 10; // node-postgres' own default

// As BullMQ's guide has it: a connection in the pool for each job that may run at once.
export const connection = DATABASE_URL
  ? { connectionString: DATABASE_URL, max: Math.max(Number(CONCURRENCY ?? 0), POOL) }
  : { host: '127.0.0.1', port: Number(REDIS_PORT) };
export const backend = DATABASE_URL ? createPostgresBackend : undefined;
