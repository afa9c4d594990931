package app;

import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import scenario.Program;

/** Thumbnails: the JPEG plug-in of ImageIO keeps its decoder in native memory until dispose(). */
public final class Images {
    /** What the native decoder of one reader takes once it has read a picture. */
    private static final int READER_BYTES = 6_500;

    private static final List<ImageReader> READERS = new ArrayList<>();
    private static byte[] picture;

    private Images() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        ImageIO.setUseCache(false);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ImageIO.write(new BufferedImage(64, 48, BufferedImage.TYPE_INT_RGB), "jpeg", out);
        picture = out.toByteArray();
        program.warm().ready();
        switch (program.mode) {
            case "readers":
                program.pace(READER_BYTES, () -> READERS.add(readSize()));
                break;
            case "disposed-readers":
                program.pace(READER_BYTES, () -> readSize().dispose());
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static ImageReader readSize() throws IOException {
        ImageReader reader = ImageIO.getImageReadersByFormatName("jpeg").next();
        reader.setInput(ImageIO.createImageInputStream(new ByteArrayInputStream(picture)), true, true);
        reader.read(0);
        reader.setInput(null);
        return reader;
    }
}
