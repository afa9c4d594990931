package app;

import java.util.Random;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;
import org.rocksdb.RocksDB;
import org.rocksdb.RocksDBException;
import org.rocksdb.RocksIterator;
import org.rocksdb.WriteBatch;
import org.rocksdb.WriteOptions;
import scenario.Program;

/** A key-value store on RocksDB, whose objects live in native memory until close(). */
public final class Store {
    private static final int BATCH_BYTES = 16_500;
    /** What an open iterator takes: its arena and the table readers' state. */
    private static final int ITERATOR_BYTES = 11_000;
    private static final int KEYS = 20_000;

    private static final byte[] VALUE = new byte[1_000];
    private static RocksDB database;
    private static WriteOptions writeOptions;

    private Store() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        RocksDB.loadLibrary();
        int cacheBytes = program.mode.equals("cache") ? 40 << 20 : 8 << 20;
        Options options = new Options()
            .setCreateIfMissing(true)
            .setWriteBufferSize(4 << 20)
            .setMaxWriteBufferNumber(2)
            .setTableFormatConfig(new BlockBasedTableConfig().setBlockCache(new LRUCache(cacheBytes)));
        writeOptions = new WriteOptions().setDisableWAL(true);
        database = RocksDB.open(options, program.dir.resolve("db").toString());
        new Random(4).nextBytes(VALUE);
        for (int i = 0; i < KEYS * 3; i++) {
            database.put(writeOptions, key(i), VALUE);
        }
        program.warm();
        Random random = new Random(5);
        switch (program.mode) {
            case "batches":
                program.ready();
                program.pace(BATCH_BYTES, () -> write(random));
                break;
            case "iterators":
                program.ready();
                program.pace(ITERATOR_BYTES, () -> seek(random));
                break;
            case "closed":
                for (int i = 0; i < KEYS; i++) {
                    read(random);
                }
                program.ready();
                program.pace(BATCH_BYTES, () -> {
                    write(random).close();
                    seek(random).close();
                    read(random);
                });
                break;
            case "cache":
                program.ready();
                program.pace(4_096, () -> read(random));
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static byte[] key(int number) {
        return String.format("key-%08d", number).getBytes();
    }

    private static WriteBatch write(Random random) throws RocksDBException {
        WriteBatch batch = new WriteBatch();
        for (int i = 0; i < 16; i++) {
            batch.put(key(random.nextInt(KEYS)), VALUE);
        }
        database.write(writeOptions, batch);
        return batch;
    }

    private static RocksIterator seek(Random random) {
        RocksIterator iterator = database.newIterator();
        iterator.seek(key(random.nextInt(KEYS)));
        return iterator;
    }

    private static void read(Random random) throws RocksDBException {
        database.get(key(random.nextInt(KEYS * 3)));
    }
}
