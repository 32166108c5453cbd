// Sends a file with tus-js-client. Arguments: address, file, metadata as JSON, how many pieces at a time. TOKEN is in the environment.
const fs = require("node:fs");
const tus = require("tus-js-client");

const [endpoint, path, metadata, parallelUploads] = process.argv.slice(2);
const upload = new tus.Upload(fs.createReadStream(path), {
  endpoint,
  metadata: JSON.parse(metadata),
  headers: { Authorization: `Bearer ${process.env.TOKEN}` },
  chunkSize: Number(parallelUploads) > 1 ? Infinity : 128 * 1024,
  parallelUploads: Number(parallelUploads),
  retryDelays: Array(30).fill(50),
  onError(error) {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess() {
    process.exit(0);
  },
});
upload.start();
