// Makes BullMQ's tables.
import { runMigrations } from 'bullmq';
import pg from 'pg';

const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
await client.connect();
await runMigrations(client);
await client.end();
