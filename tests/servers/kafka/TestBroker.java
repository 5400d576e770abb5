import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;

import kafka.Kafka;
import kafka.tools.StorageTool;

/**
 * One Kafka broker, its own controller too, that lives as long as its standard input is open.
 *
 * <p>At the end of its input nobody is left who uses the broker, however they ended: it ends at once, as its data
 * is thrown away.
 *
 * <p>Arguments: the file of the broker's properties, and the id of its cluster.
 */
public final class TestBroker {
    private TestBroker() {}

    public static void main(String[] args) throws Exception {
        endWithInput();
        Properties properties = new Properties();
        try (Reader reader = Files.newBufferedReader(Path.of(args[0]))) {
            properties.load(reader);
        }
        if (!Files.exists(Path.of(properties.getProperty("log.dirs"), "meta.properties"))) {
            String[] format = {"format", "--config", args[0], "--cluster-id", args[1]};
            if (StorageTool.execute(format, System.out) != 0) {
                throw new IllegalStateException("its folder can't be formatted");
            }
        }
        Kafka.main(new String[] {args[0]});
    }

    private static void endWithInput() {
        Thread watch = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                    continue;
                }
            } catch (IOException e) {
                // an input that can't be read has ended
            }
            Runtime.getRuntime().halt(0);
        });
        watch.setDaemon(true);
        watch.start();
    }
}
