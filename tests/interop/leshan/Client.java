// An LwM2M 1.1 device on Eclipse Leshan. See tests/harness/lwm2m.rs for what it prints and takes.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;

import org.eclipse.leshan.client.LeshanClient;
import org.eclipse.leshan.client.LeshanClientBuilder;
import org.eclipse.leshan.client.californium.endpoint.CaliforniumClientEndpointsProvider;
import org.eclipse.leshan.client.californium.endpoint.coap.CoapClientProtocolProvider;
import org.eclipse.leshan.client.object.Security;
import org.eclipse.leshan.client.object.Server;
import org.eclipse.leshan.client.observer.LwM2mClientObserverAdapter;
import org.eclipse.leshan.client.resource.BaseInstanceEnabler;
import org.eclipse.leshan.client.resource.ObjectsInitializer;
import org.eclipse.leshan.client.servers.LwM2mServer;
import org.eclipse.leshan.core.LwM2mId;
import org.eclipse.leshan.core.ResponseCode;
import org.eclipse.leshan.core.model.ObjectModel;
import org.eclipse.leshan.core.node.LwM2mResource;
import org.eclipse.leshan.core.request.BindingMode;
import org.eclipse.leshan.core.request.DeregisterRequest;
import org.eclipse.leshan.core.request.RegisterRequest;
import org.eclipse.leshan.core.request.UpdateRequest;
import org.eclipse.leshan.core.request.argument.Arguments;
import org.eclipse.leshan.core.response.ExecuteResponse;
import org.eclipse.leshan.core.response.ObserveResponse;
import org.eclipse.leshan.core.response.ReadResponse;
import org.eclipse.leshan.core.response.WriteResponse;

public class Client {
    static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    /** Object 3. Battery Level (9) can be set from outside, UTC Offset (14) by the server. */
    public static class Device extends BaseInstanceEnabler {
        private long battery = 87;
        private String offset = "+00:00";

        void battery(long level) {
            battery = level;
            fireResourceChange(9);
        }

        @Override
        public ReadResponse read(LwM2mServer server, int resource) {
            switch (resource) {
            case 0:
                return ReadResponse.success(resource, "Tidegate tests");
            case 1:
                return ReadResponse.success(resource, "Leshan");
            case 9:
                return ReadResponse.success(resource, battery);
            case 14:
                return ReadResponse.success(resource, offset);
            case 16:
                return ReadResponse.success(resource, "U");
            default:
                return super.read(server, resource);
            }
        }

        @Override
        public ObserveResponse observe(LwM2mServer server, int resource) {
            say("OBSERVE 3/0/" + resource);
            return super.observe(server, resource);
        }

        @Override
        public WriteResponse write(LwM2mServer server, boolean replace, int resource, LwM2mResource value) {
            if (resource != 14)
                return super.write(server, replace, resource, value);
            offset = (String) value.getValue();
            say("WRITE 3/0/14 " + offset);
            return WriteResponse.success();
        }

        @Override
        public ExecuteResponse execute(LwM2mServer server, int resource, Arguments arguments) {
            say("EXECUTE 3/0/" + resource);
            return ExecuteResponse.success();
        }

        @Override
        public List<Integer> getAvailableResourceIds(ObjectModel model) {
            return Arrays.asList(0, 1, 4, 9, 14, 16);
        }
    }

    public static void main(String[] arguments) throws Exception {
        String endpoint = arguments[0];
        String uri = "coap://127.0.0.1:" + arguments[1];
        long lifetime = Long.parseLong(arguments[2]);
        Device device = new Device();
        ObjectsInitializer objects = new ObjectsInitializer();
        objects.setInstancesForObject(LwM2mId.SECURITY, Security.noSec(uri, 123));
        objects.setInstancesForObject(LwM2mId.SERVER,
                new Server(123, lifetime, EnumSet.of(BindingMode.U), false, BindingMode.U));
        objects.setInstancesForObject(LwM2mId.DEVICE, device);
        LeshanClientBuilder builder = new LeshanClientBuilder(endpoint);
        builder.setObjects(objects.createAll());
        CaliforniumClientEndpointsProvider.Builder transport = new CaliforniumClientEndpointsProvider.Builder(
                new CoapClientProtocolProvider());
        transport.setClientAddress(InetAddress.getByName("127.0.0.1"));
        builder.setEndpointsProviders(transport.build());
        LeshanClient client = builder.build();
        client.addObserver(new LwM2mClientObserverAdapter() {
            @Override
            public void onRegistrationSuccess(LwM2mServer server, RegisterRequest request, String id) {
                say("REGISTERED " + id);
            }

            @Override
            public void onRegistrationFailure(LwM2mServer server, RegisterRequest request, ResponseCode code,
                    String message, Exception cause) {
                say("REFUSED " + code + " " + message);
            }

            @Override
            public void onUpdateSuccess(LwM2mServer server, UpdateRequest request) {
                say("UPDATED");
            }

            @Override
            public void onDeregistrationSuccess(LwM2mServer server, DeregisterRequest request) {
                say("DEREGISTERED");
            }
        });
        client.start();
        obey(client, device);
    }

    static void obey(LeshanClient client, Device device) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
            case "set":
                device.battery(Long.parseLong(words[2]));
                say("SET " + words[1] + " " + words[2]);
                break;
            case "update":
                client.triggerRegistrationUpdate();
                break;
            case "deregister":
                client.stop(true);
                break;
            default:
                Runtime.getRuntime().halt(0);
            }
        }
        Runtime.getRuntime().halt(0);
    }
}
