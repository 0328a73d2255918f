// BullMQ on Redis with nodemailer's pool: `node bullmq_mail.cjs work`, `… produce COUNT PREFIX`.
//
// Tuned: one worker process with 32 jobs under way, finished jobs removed, a pool of 32 SMTP connections that are kept
// whatever they have sent, mail put together by hand. Submitting is `add()`, 32 at once in one process. NODE_PATH says
// where the packages are.
'use strict'

const { Queue, Worker } = require('bullmq')
const Redis = require('ioredis')
const nodemailer = require('nodemailer')

const CONCURRENCY = 32
const SENDER = 'shop@example.com'
const SUBJECT = 'Your order is on its way'
const TEXT = 'All is well. '.repeat(76)
const SMTP_TIMEOUT_MS = 30000

function composed ({ to, subject, text }) {
  const id = `${to.split('@')[0]}.${process.hrtime.bigint()}@example.com`
  return `From: Shop <${SENDER}>\r\nTo: ${to}\r\nSubject: ${subject}\r\nDate: ${new Date().toUTCString()}\r\n` +
    `Message-ID: <${id}>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n` +
    `Content-Transfer-Encoding: 7bit\r\n\r\n${text}\r\n`
}

const redis = () => new Redis(process.env.PEERS_REDIS, { maxRetriesPerRequest: null })

function work () {
  const pool = nodemailer.createTransport({
    pool: true,
    host: '127.0.0.1',
    port: Number(process.env.PEERS_SMTP_PORT),
    secure: false,
    ignoreTLS: true,
    maxConnections: CONCURRENCY,
    maxMessages: Infinity,
    socketTimeout: SMTP_TIMEOUT_MS
  })
  const send = job => pool.sendMail({
    envelope: { from: SENDER, to: [job.data.to] },
    raw: composed(job.data)
  }).then(() => undefined)
  const worker = new Worker('mail', send, { connection: redis(), concurrency: CONCURRENCY })
  worker.on('error', error => console.error(error))
  process.on('SIGTERM', () => worker.close().then(() => process.exit(0)))
}

// The same clock as the other processes': CLOCK_MONOTONIC, in seconds.
const now = () => Number(process.hrtime.bigint()) / 1e9

async function produce (count, prefix) {
  const connection = redis()
  const queue = new Queue('mail', { connection })
  await queue.waitUntilReady()
  let next = 0
  const options = { removeOnComplete: true, attempts: 3 }
  async function oneAfterTheOther () {
    while (next < count) {
      const to = `${prefix}${next++}@example.org`
      await queue.add('send', { to, subject: SUBJECT, text: TEXT }, options)
    }
  }
  const begun = now()
  await Promise.all(Array.from({ length: CONCURRENCY }, oneAfterTheOther))
  console.log(JSON.stringify({ begun_s: begun, per_s: count / (now() - begun) }))
  await queue.close()
  connection.disconnect()
}

if (process.argv[2] === 'produce') produce(Number(process.argv[3]), process.argv[4])
else work()
