import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;

import org.apache.beam.runners.flink.FlinkJobServerDriver;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.GlobalConfiguration;
import org.apache.flink.configuration.RestOptions;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;

/**
 * A Flink cluster in one process, with Beam's job server before it, that lives as long as its standard input is open.
 *
 * <p>At the end of its input nobody is left who uses it, however they ended: it ends at once.
 *
 * <p>Arguments: a folder with config.yaml, in which it writes a file "ready" when all of it is up; the ports of Flink's
 * REST interface and of the job server, its artifacts and its expansion; how many tasks may run at a time.
 */
public final class TestFlink {
    private TestFlink() {}

    public static void main(String[] args) throws Exception {
        endWithInput();
        // Each job would carry all jars of the class path to the cluster, which has them: 200 MB.
        System.setProperty(
                "java.class.path",
                TestFlink.class.getProtectionDomain().getCodeSource().getLocation().getPath());
        Path folder = Path.of(args[0]);
        Configuration configuration = GlobalConfiguration.loadConfiguration(args[0]);
        configuration.set(RestOptions.BIND_PORT, args[1]);
        MiniCluster cluster = new MiniCluster(
                new MiniClusterConfiguration.Builder()
                        .setConfiguration(configuration)
                        .setNumTaskManagers(1)
                        .setNumSlotsPerTaskManager(Integer.parseInt(args[5]))
                        .build());
        cluster.start();
        URI rest = cluster.getRestAddress().get();
        FlinkJobServerDriver driver = FlinkJobServerDriver.fromParams(new String[] {
            "--job-host=127.0.0.1",
            "--job-port=" + args[2],
            "--artifact-port=" + args[3],
            "--expansion-port=" + args[4],
            "--artifacts-dir=" + folder.resolve("artifacts"),
            "--clean-artifacts-per-job",
            "--flink-master=" + rest.getHost() + ":" + rest.getPort(),
            "--flink-conf-dir=" + folder,
        });
        driver.start();
        Files.createFile(folder.resolve("ready"));
        Thread.currentThread().join();
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
