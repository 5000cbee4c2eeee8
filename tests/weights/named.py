"""Networks written by hand with the names people give them; each can be run on `shape`."""

import torch
import torch.nn.functional as F
from torch import nn


class ClassMLP(nn.Module):
    shape = (12,)

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(12, 32)
        self.fc2 = nn.Linear(32, 32)
        self.fc3 = nn.Linear(32, 10)

    def forward(self, x):
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class HiddenSkipMLP(ClassMLP):
    def forward(self, x):
        x = F.relu(self.fc1(x))
        return self.fc3(x + F.relu(self.fc2(x)))


class ListMLP(nn.Module):
    shape = (12,)

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(12, 32), nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 10)]
        )

    def forward(self, x):
        x = F.relu(self.layers[0](x))
        for layer in self.layers[1:-1]:
            x = x + F.relu(layer(x))
        return self.layers[-1](x)


class LeNet(nn.Module):
    shape = (1, 28, 28)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.flatten(1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class VGG(nn.Module):
    shape = (3, 16, 16)

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(
            nn.Linear(64, 24), nn.ReLU(), nn.Dropout(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 10)
        )

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class Basic(nn.Module):
    def __init__(self, i, o, st):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, st, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.downsample = (
            nn.Sequential(nn.Conv2d(i, o, 1, st, bias=False), nn.BatchNorm2d(o))
            if st != 1 or i != o
            else None
        )

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottle(nn.Module):
    def __init__(self, i, w, st):
        super().__init__()
        o = 4 * w
        self.conv1 = nn.Conv2d(i, w, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(w)
        self.conv2 = nn.Conv2d(w, w, 3, st, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(w)
        self.conv3 = nn.Conv2d(w, o, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(o)
        self.downsample = (
            nn.Sequential(nn.Conv2d(i, o, 1, st, bias=False), nn.BatchNorm2d(o))
            if st != 1 or i != o
            else None
        )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    shape = (3, 16, 16)

    def __init__(self, bottle=False):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        if bottle:
            self.layer1 = nn.Sequential(Bottle(8, 4, 1), Bottle(16, 4, 1))
            self.layer2 = nn.Sequential(Bottle(16, 8, 2), Bottle(32, 8, 1))
            d = 32
        else:
            self.layer1 = nn.Sequential(Basic(8, 8, 1), Basic(8, 8, 1))
            self.layer2 = nn.Sequential(Basic(8, 16, 2), Basic(16, 16, 1))
            d = 16
        self.fc = nn.Linear(d, 10)

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))).mean((2, 3)))


class ResNetTapped(ResNet):
    """FPN on stages"""

    def __init__(self):
        super().__init__(True)
        self.inner1 = nn.Conv2d(16, 12, 1)
        self.inner2 = nn.Conv2d(32, 12, 1)

    def forward(self, x):
        a = self.layer1(F.relu(self.bn1(self.conv1(x))))
        b = self.layer2(a)
        return torch.cat([self.inner1(a).flatten(1), self.inner2(b).flatten(1), self.fc(b.mean((2, 3)))], 1)


class PlainBlocks(nn.Module):
    """blocks named as residual, without skip, no downsample anywhere"""

    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()

        class B(nn.Module):
            def __init__(self, i, o):
                super().__init__()
                self.conv1 = nn.Conv2d(i, o, 3, 1, 1)
                self.bn1 = nn.BatchNorm2d(o)
                self.conv2 = nn.Conv2d(o, o, 3, 1, 1)
                self.bn2 = nn.BatchNorm2d(o)

            def forward(self, x):
                return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))

        self.a = B(3, 8)
        self.b = B(8, 16)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        return self.fc(self.b(self.a(x)).mean((2, 3)))


class PreAct(nn.Module):
    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()

        class B(nn.Module):
            def __init__(self, i, o):
                super().__init__()
                self.bn1 = nn.BatchNorm2d(i)
                self.conv1 = nn.Conv2d(i, o, 3, 1, 1, bias=False)
                self.bn2 = nn.BatchNorm2d(o)
                self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
                self.shortcut = nn.Conv2d(i, o, 1) if i != o else None

            def forward(self, x):
                y = F.relu(self.bn1(x))
                y = self.conv2(F.relu(self.bn2(self.conv1(y))))
                return y + (x if self.shortcut is None else self.shortcut(x))

        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1)
        self.layer1 = nn.Sequential(B(8, 8), B(8, 8))
        self.layer2 = nn.Sequential(B(8, 16), B(16, 16))
        self.bn = nn.BatchNorm2d(16)
        self.linear = nn.Linear(16, 10)

    def forward(self, x):
        return self.linear(F.relu(self.bn(self.layer2(self.layer1(self.conv1(x))))).mean((2, 3)))


def dc(i, o):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, 1, 1),
        nn.BatchNorm2d(o),
        nn.ReLU(),
        nn.Conv2d(o, o, 3, 1, 1),
        nn.BatchNorm2d(o),
        nn.ReLU(),
    )


class UNet(nn.Module):
    shape = (3, 16, 16)

    def __init__(self):
        super().__init__()
        self.down1 = dc(3, 8)
        self.down2 = dc(8, 16)
        self.mid = dc(16, 32)
        self.up2 = nn.ConvTranspose2d(32, 16, 2, 2)
        self.dec2 = dc(32, 16)
        self.up1 = nn.ConvTranspose2d(16, 8, 2, 2)
        self.dec1 = dc(16, 8)
        self.out = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.mid(F.max_pool2d(b, 2))
        y = self.dec2(torch.cat([self.up2(c), b], 1))
        return self.out(self.dec1(torch.cat([self.up1(y), a], 1)))


class VAE(nn.Module):
    shape = (64,)

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 40)
        self.fc21 = nn.Linear(40, 6)
        self.fc22 = nn.Linear(40, 6)
        self.fc3 = nn.Linear(6, 40)
        self.fc4 = nn.Linear(40, 64)

    def forward(self, x):
        h = F.relu(self.fc1(x))
        m, v = self.fc21(h), self.fc22(h)
        return torch.cat([self.fc4(F.relu(self.fc3(m * torch.sigmoid(v)))), m, v], 1)


class DCGAN(nn.Module):
    shape = (10, 1, 1)

    def __init__(self, bias=False):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(10, 16, 4, 1, 0, bias=bias),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=bias),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 8, 4, 2, 1, bias=bias),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=bias),
            nn.Tanh(),
        )

    def forward(self, x):
        return self.main(x)


class ConvAE(nn.Module):
    shape = (1, 8, 8)

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 8, 3, 1, 1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 3, 1, 1)
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


class ActorCritic(nn.Module):
    shape = (17,)

    def __init__(self, obs=17, n=16):
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(obs, n), nn.Tanh(), nn.Linear(n, n), nn.Tanh(), nn.Linear(n, 1))
        self.actor_mean = nn.Sequential(
            nn.Linear(obs, n), nn.Tanh(), nn.Linear(n, n), nn.Tanh(), nn.Linear(n, 6)
        )
        self.actor_logstd = nn.Parameter(torch.zeros(1, 6))

    def forward(self, x):
        return torch.cat([self.critic(x), self.actor_mean(x) * self.actor_logstd.exp()], 1)


class SharedTrunk(nn.Module):
    shape = (8,)

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 32)
        self.fc_pi = nn.Linear(32, 4)
        self.fc_v = nn.Linear(32, 1)

    def forward(self, x):
        h = F.relu(self.fc1(x))
        return torch.cat([self.fc_pi(h), self.fc_v(h)], 1)


class SB3(nn.Module):
    shape = (8,)

    def __init__(self):
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(2))
        self.mlp_extractor = nn.Module()
        self.mlp_extractor.policy_net = nn.Sequential(
            nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh()
        )
        self.mlp_extractor.value_net = nn.Sequential(
            nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh()
        )
        self.action_net = nn.Linear(16, 2)
        self.value_net = nn.Linear(16, 1)

    def forward(self, x):
        return torch.cat(
            [
                self.action_net(self.mlp_extractor.policy_net(x)) * self.log_std.exp(),
                self.value_net(self.mlp_extractor.value_net(x)),
            ],
            1,
        )


class Critic(nn.Module):
    shape = (9,)

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 16)
        self.fc2 = nn.Linear(19, 16)
        self.fc3 = nn.Linear(16, 1)

    def forward(self, x):
        h = F.relu(self.fc1(x[:, :6]))
        return self.fc3(F.relu(self.fc2(torch.cat([h, x[:, 6:]], 1))))


class NatureDQN(nn.Module):
    shape = (4, 36, 36)

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(4, 8, 8, 4),
            nn.ReLU(),
            nn.Conv2d(8, 16, 4, 2),
            nn.ReLU(),
            nn.Conv2d(16, 16, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64, 32),
            nn.ReLU(),
        )
        self.actor = nn.Linear(32, 5)
        self.critic = nn.Linear(32, 1)

    def forward(self, x):
        h = self.network(x)
        return torch.cat([self.actor(h), self.critic(h)], 1)


class ViT(nn.Module):
    shape = (3, 8, 8)

    def __init__(self, d=16):
        super().__init__()

        class A(nn.Module):
            def __init__(self):
                super().__init__()
                self.qkv = nn.Linear(d, 3 * d)
                self.proj = nn.Linear(d, d)

            def forward(self, x):
                b, n, _ = x.shape
                q, k, v = self.qkv(x).reshape(b, n, 3, 4, d // 4).permute(2, 0, 3, 1, 4).unbind(0)
                return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))

        class M(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc1 = nn.Linear(d, 4 * d)
                self.fc2 = nn.Linear(4 * d, d)

            def forward(self, x):
                return self.fc2(F.gelu(self.fc1(x)))

        class B(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm1 = nn.LayerNorm(d)
                self.attn = A()
                self.norm2 = nn.LayerNorm(d)
                self.mlp = M()

            def forward(self, x):
                x = x + self.attn(self.norm1(x))
                return x + self.mlp(self.norm2(x))

        self.cls_token = nn.Parameter(torch.zeros(1, 1, d))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, d))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, d, 4, 4)
        self.blocks = nn.Sequential(B(), B())
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, 10)

    def forward(self, x):
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class GPT(nn.Module):
    shape = (7,)

    def __init__(self, d=12, tied=False):
        super().__init__()

        class A(nn.Module):
            def __init__(self):
                super().__init__()
                self.c_attn = nn.Linear(d, 3 * d)
                self.c_proj = nn.Linear(d, d)

            def forward(self, x):
                b, n, _ = x.shape
                q, k, v = (t.view(b, n, 3, d // 3).transpose(1, 2) for t in self.c_attn(x).split(d, 2))
                return self.c_proj(
                    F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, n, d)
                )

        class M(nn.Module):
            def __init__(self):
                super().__init__()
                self.c_fc = nn.Linear(d, 4 * d)
                self.c_proj = nn.Linear(4 * d, d)

            def forward(self, x):
                return self.c_proj(F.gelu(self.c_fc(x)))

        class B(nn.Module):
            def __init__(self):
                super().__init__()
                self.ln_1 = nn.LayerNorm(d)
                self.attn = A()
                self.ln_2 = nn.LayerNorm(d)
                self.mlp = M()

            def forward(self, x):
                x = x + self.attn(self.ln_1(x))
                return x + self.mlp(self.ln_2(x))

        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(20, d),
                "wpe": nn.Embedding(7, d),
                "h": nn.ModuleList([B(), B()]),
                "ln_f": nn.LayerNorm(d),
            }
        )
        self.lm_head = nn.Linear(d, 20, bias=False)
        if tied:
            self.lm_head.weight = self.transformer.wte.weight

    def forward(self, x):
        t = self.transformer
        y = t.wte(x.long().clamp(0, 19)) + t.wpe(torch.arange(7))
        for b in t.h:
            y = b(y)
        return self.lm_head(t.ln_f(y))


class TorchTransformer(nn.Module):
    shape = (6, 8)

    def __init__(self):
        super().__init__()
        self.inp = nn.Linear(8, 16)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, dropout=0.0),
            2,
            enable_nested_tensor=False,
        )
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        return self.out(self.encoder(self.inp(x)))


class Llama(nn.Module):
    shape = (7,)

    def __init__(self, d=16, h=4):
        super().__init__()

        class R(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.ones(d))

            def forward(self, x):
                return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight

        class A(nn.Module):
            def __init__(self):
                super().__init__()
                self.q_proj = nn.Linear(d, d, bias=False)
                self.k_proj = nn.Linear(d, d // 2, bias=False)
                self.v_proj = nn.Linear(d, d // 2, bias=False)
                self.o_proj = nn.Linear(d, d, bias=False)

            def forward(self, x):
                b, n, _ = x.shape
                e = d // h
                q = self.q_proj(x).view(b, n, h, e).transpose(1, 2)
                k = self.k_proj(x).view(b, n, h // 2, e).transpose(1, 2).repeat_interleave(2, 1)
                v = self.v_proj(x).view(b, n, h // 2, e).transpose(1, 2).repeat_interleave(2, 1)
                return self.o_proj(
                    F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, n, d)
                )

        class M(nn.Module):
            def __init__(self):
                super().__init__()
                self.gate_proj = nn.Linear(d, 28, bias=False)
                self.up_proj = nn.Linear(d, 28, bias=False)
                self.down_proj = nn.Linear(28, d, bias=False)

            def forward(self, x):
                return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))

        class B(nn.Module):
            def __init__(self):
                super().__init__()
                self.self_attn = A()
                self.mlp = M()
                self.input_layernorm = R()
                self.post_attention_layernorm = R()

            def forward(self, x):
                x = x + self.self_attn(self.input_layernorm(x))
                return x + self.mlp(self.post_attention_layernorm(x))

        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(20, d)
        self.model.layers = nn.ModuleList([B(), B()])
        self.model.norm = R()
        self.lm_head = nn.Linear(d, 20, bias=False)

    def forward(self, x):
        y = self.model.embed_tokens(x.long().clamp(0, 19))
        for b in self.model.layers:
            y = b(y)
        return self.lm_head(self.model.norm(y))


class GLUNet(nn.Module):
    shape = (8,)

    def __init__(self):
        super().__init__()
        self.fc0 = nn.Linear(8, 16)
        self.fc1 = nn.Linear(16, 32)
        self.fc2 = nn.Linear(16, 5)

    def forward(self, x):
        return self.fc2(F.glu(self.fc1(F.relu(self.fc0(x)))))


class GLUSeq(nn.Module):
    shape = (8,)

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.GLU(), nn.Linear(16, 32), nn.GLU(), nn.Linear(16, 5))

    def forward(self, x):
        return self.net(x)


class GroupNormNet(nn.Module):
    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.GroupNorm(2, 8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3),
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 10),
        )

    def forward(self, x):
        return self.net(x)


class Super(nn.Module):
    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1)
        self.conv2 = nn.Conv2d(16, 16, 3, 1, 1)
        self.up = nn.Conv2d(16, 64, 3, 1, 1)
        self.conv3 = nn.Conv2d(16, 3, 3, 1, 1)

    def forward(self, x):
        return self.conv3(F.pixel_shuffle(self.up(F.relu(self.conv2(F.relu(self.conv1(x))))), 2))


class Mobile(nn.Module):
    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, 1, 1, groups=8),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(16, 10)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class Dense(nn.Module):
    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv0 = nn.Conv2d(3, 8, 3, 1, 1)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 4, 3, 1, 1)
        self.norm2 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 4, 3, 1, 1)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        x = self.conv0(x)
        x = torch.cat([x, self.conv1(F.relu(self.norm1(x)))], 1)
        x = torch.cat([x, self.conv2(F.relu(self.norm2(x)))], 1)
        return self.fc(x.mean((2, 3)))


class SSD(nn.Module):
    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.vgg = nn.ModuleList(
            [
                nn.Conv2d(3, 8, 3, 1, 1),
                nn.ReLU(),
                nn.Conv2d(8, 12, 3, 1, 1),
                nn.ReLU(),
                nn.Conv2d(12, 16, 3, 1, 1),
                nn.ReLU(),
            ]
        )
        self.loc = nn.ModuleList([nn.Conv2d(12, 4, 3), nn.Conv2d(16, 4, 3)])

    def forward(self, x):
        for layer in self.vgg[:4]:
            x = layer(x)
        a = x
        for layer in self.vgg[4:]:
            x = layer(x)
        return torch.cat([self.loc[0](a).flatten(1), self.loc[1](x).flatten(1)], 1)


class SMP(nn.Module):
    """VGG features tapped and concatenated"""

    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(12, 16, 3, 1, 1),
            nn.ReLU(),
        )
        self.dec = nn.Conv2d(28, 4, 3, 1, 1)

    def forward(self, x):
        a = self.features[3](self.features[2](self.features[1](self.features[0](x))))
        return self.dec(torch.cat([a, self.features[5](self.features[4](a))], 1))


class LoRALinear(nn.Module):
    def __init__(self, i, o, r):
        super().__init__()
        self.base_layer = nn.Linear(i, o)
        self.lora_A = nn.ModuleDict({"default": nn.Linear(i, r, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(r, o, bias=False)})

    def forward(self, x):
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))


class LoRANet(nn.Module):
    shape = (8,)

    def __init__(self):
        super().__init__()
        self.fc1 = LoRALinear(8, 16, 4)
        self.fc2 = LoRALinear(16, 5, 4)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))


class FlatBN(nn.Module):
    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.BatchNorm1d(144),
            nn.Linear(144, 20),
            nn.ReLU(),
            nn.BatchNorm1d(20),
            nn.Linear(20, 10),
        )

    def forward(self, x):
        return self.net(x)


class LastAxis(nn.Module):
    """linear over the last axis, not the channels"""

    shape = (3, 16)

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(3, 16, 3, padding=1), nn.ReLU(), nn.Linear(16, 10))

    def forward(self, x):
        return self.net(x).flatten(1)


class SE(nn.Module):
    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1)
        self.se = nn.Module()
        self.se.fc1 = nn.Conv2d(16, 4, 1)
        self.se.fc2 = nn.Conv2d(4, 16, 1)
        self.conv2 = nn.Conv2d(16, 24, 3, 1, 1)
        self.fc = nn.Linear(24, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        g = torch.sigmoid(self.se.fc2(F.relu(self.se.fc1(x.mean((2, 3), keepdim=True)))))
        return self.fc(F.relu(self.conv2(x * g)).mean((2, 3)))


class Mixer(nn.Module):
    shape = (6, 16)

    def __init__(self):
        super().__init__()

        class M(nn.Module):
            def __init__(self, d, h):
                super().__init__()
                self.fc1 = nn.Linear(d, h)
                self.fc2 = nn.Linear(h, d)

            def forward(self, x):
                return x + self.fc2(F.gelu(self.fc1(x)))

        self.net = nn.Sequential(M(16, 24), M(16, 24))
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        return self.out(self.net(x)).mean(1)


class HFBert(nn.Module):
    shape = (7,)

    def __init__(self, d=12):
        super().__init__()
        Module = nn.Module

        def mod(**k):
            m = Module()
            for a, b in k.items():
                setattr(m, a, b)
            return m

        def L(i, o):
            return (
                mod(dense=nn.Linear(i, o), LayerNorm=nn.LayerNorm(o))
                if o == d
                else mod(dense=nn.Linear(i, o))
            )

        self.bert = Module()
        self.bert.embeddings = mod(
            word_embeddings=nn.Embedding(20, d),
            position_embeddings=nn.Embedding(7, d),
            token_type_embeddings=nn.Embedding(2, d),
            LayerNorm=nn.LayerNorm(d),
        )
        self.bert.encoder = mod(
            layer=nn.ModuleList(
                [
                    mod(
                        attention=mod(
                            self=mod(query=nn.Linear(d, d), key=nn.Linear(d, d), value=nn.Linear(d, d)),
                            output=L(d, d),
                        ),
                        intermediate=L(d, 30),
                        output=L(30, d),
                    )
                    for _ in range(2)
                ]
            )
        )
        self.bert.pooler = mod(dense=nn.Linear(d, d))
        self.classifier = nn.Linear(d, 3)
        self.d = d

    def forward(self, x):
        x = x.long().clamp(0, 19)
        e = self.bert.embeddings
        d = self.d
        y = e.LayerNorm(
            e.word_embeddings(x)
            + e.position_embeddings(torch.arange(7))
            + e.token_type_embeddings(torch.zeros(7, dtype=torch.long))
        )
        for layer in self.bert.encoder.layer:
            a = layer.attention.self
            b, n, _ = y.shape
            q, k, v = (f(y).view(b, n, 3, d // 3).transpose(1, 2) for f in (a.query, a.key, a.value))
            o = layer.attention.output
            y = o.LayerNorm(
                y + o.dense(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
            )
            y = layer.output.LayerNorm(y + layer.output.dense(F.gelu(layer.intermediate.dense(y))))
        return self.classifier(torch.tanh(self.bert.pooler.dense(y[:, 0])))


class LSTMNet(nn.Module):
    shape = (6, 8)

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 16, batch_first=True)
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


class Shuffle(nn.Module):
    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=2), nn.ReLU(), nn.Conv2d(8, 10, 1)
        )

    def forward(self, x):
        return self.net(x).mean((2, 3))


class TwoBranch(nn.Module):
    shape = (8,)

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 16)
        self.b = nn.Linear(8, 16)
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(F.relu(self.a(x)) + F.relu(self.b(x)))


class CatBranch(nn.Module):
    shape = (8,)

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 16)
        self.b = nn.Linear(8, 16)
        self.c = nn.Linear(8, 32)
        self.d = nn.Linear(32, 12)
        self.fc = nn.Linear(32, 4)

    def forward(self, x):
        return torch.cat([self.fc(torch.cat([self.a(x), self.b(x)], 1)), self.d(self.c(x))], 1)


class Dueling(nn.Module):
    shape = (4, 36, 36)

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(4, 8, 8, 4), nn.ReLU(), nn.Conv2d(8, 16, 4, 2), nn.ReLU())
        self.value = nn.Sequential(nn.Linear(144, 32), nn.ReLU(), nn.Linear(32, 1))
        self.advantage = nn.Sequential(nn.Linear(144, 32), nn.ReLU(), nn.Linear(32, 6))

    def forward(self, x):
        h = self.features(x).flatten(1)
        return self.value(h) + self.advantage(h)


class AltNames(nn.Module):
    """order not told by names; circuit of sizes"""

    shape = (32,)

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(10, 32)
        self.b = nn.Linear(32, 10)

    def forward(self, x):
        return self.a(F.relu(self.b(x)))


class SharedLinear(nn.Module):
    shape = (16,)

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        return self.out(F.relu(self.fc(F.relu(self.fc(x)))))


class Conv1dNet(nn.Module):
    shape = (6, 20)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(6, 12, 3)
        self.bn1 = nn.BatchNorm1d(12)
        self.conv2 = nn.Conv1d(12, 24, 3)
        self.bn2 = nn.BatchNorm1d(24)
        self.fc = nn.Linear(24, 5)

    def forward(self, x):
        return self.fc(F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))).mean(2))


class InceptionLike(nn.Module):
    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.b1 = nn.Conv2d(8, 4, 1)
        self.b2 = nn.Sequential(nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 12, 3, 1, 1))
        self.next = nn.Conv2d(16, 20, 3)
        self.fc = nn.Linear(20, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = torch.cat([self.b1(x), self.b2(x)], 1)
        return self.fc(F.relu(self.next(x)).mean((2, 3)))


class GroupNormAttention(nn.Module):
    """Convolutions and group norms beside attention: norms are not those of a transformer."""

    shape = (3, 6, 6)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.norm1 = nn.GroupNorm(2, 8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.attn = nn.Module()
        self.attn.qkv = nn.Linear(8, 24)
        self.attn.proj = nn.Linear(8, 8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.conv2(F.relu(self.norm1(self.conv1(x)))).flatten(2).transpose(1, 2)
        q, k, v = self.attn.qkv(x).chunk(3, -1)
        return self.fc(self.attn.proj(F.scaled_dot_product_attention(q, k, v)).mean(1))


class WideNorm(nn.Module):
    """A layer norm over channels and positions, as many of one as of the other."""

    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.LayerNorm((8, 8, 8)), nn.ReLU(), nn.Conv2d(8, 4, 3)
        )

    def forward(self, x):
        return self.net(x).mean((2, 3))


class BilinearNet(nn.Module):
    """A product of two features has a matrix of three axes, like a convolution."""

    shape = (8,)

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 16)
        self.pair = nn.Bilinear(16, 16, 3)

    def forward(self, x):
        x = F.relu(self.fc(x))
        return self.pair(x, x)


class Turned(nn.Module):
    """A layer that stores (in, out), as graph networks often do."""

    def __init__(self, width_in, width_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width_in, width_out))
        self.bias = nn.Parameter(torch.randn(width_out))

    def forward(self, x):
        return x @ self.weight + self.bias


class TurnedNet(nn.Module):
    shape = (8,)

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = Turned(8, 16), Turned(16, 16), Turned(16, 3)

    def forward(self, x):
        return self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))


class Parametrized(nn.Module):
    """A layer in the middle whose tensors are called otherwise, as weight norm does."""

    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv1, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(16, 5)
        self.conv2 = nn.Module()
        self.conv2.weight_g = nn.Parameter(torch.ones(16, 1, 1, 1))
        self.conv2.weight_v = nn.Parameter(torch.randn(16, 8, 3, 3))
        self.conv2.bias = nn.Parameter(torch.zeros(16))

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(F.conv2d(x, self.conv2.weight_v * self.conv2.weight_g, self.conv2.bias))
        return self.fc(x.mean((2, 3)))


class Between(nn.Module):
    """Something inside a container between two layers that are named like a pair."""

    shape = (6,)

    def __init__(self, inner):
        super().__init__()
        self.fc1, self.inner, self.fc2 = nn.Linear(6, 8), nn.Sequential(inner), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc2(self.inner(self.fc1(x)))


def hidden_norm():
    return Between(nn.BatchNorm1d(8))


def hidden_cell():
    return Between(nn.GRUCell(8, 8))


class FlatNorm(nn.Module):
    """A norm of flattened maps, with a name of its own."""

    shape = (3, 6, 6)

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 6, 4), nn.BatchNorm1d(54), nn.Linear(54, 4)

    def forward(self, x):
        return self.fc(self.norm(F.relu(self.conv(x)).flatten(1)))


class Sliced(nn.Module):
    """A layer whose output has the width of its input, which is a slice of something wider."""

    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv1, self.part = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(7, 7, 3, padding=1)
        self.conv2, self.fc = nn.Conv2d(24, 20, 1), nn.Linear(20, 5)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = torch.cat([F.relu(self.part(x[:, :7])), x[:, 7:]], 1)
        return self.fc(F.relu(self.conv2(x)).mean((2, 3)))


class SlicedTap(nn.Module):
    """A layer that reads a slice of what another one reads whole."""

    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(9, 20, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(20, 5), nn.Linear(24, 5)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        return self.fc1(F.relu(self.conv2(x[:, :9])).mean((2, 3))) + self.fc2(x.mean((2, 3)))


def bottleneck_resnet():
    return ResNet(True)


def biased_dcgan():
    return DCGAN(True)


def square_actor_critic():
    return ActorCritic(17, 17)


def tied_gpt():
    return GPT(tied=True)


ALL = [
    Parametrized,
    GroupNormAttention,
    WideNorm,
    BilinearNet,
    TurnedNet,
    TwoBranch,
    CatBranch,
    Dueling,
    AltNames,
    SharedLinear,
    Conv1dNet,
    InceptionLike,
    ClassMLP,
    HiddenSkipMLP,
    ListMLP,
    LeNet,
    VGG,
    ResNet,
    bottleneck_resnet,
    ResNetTapped,
    PlainBlocks,
    PreAct,
    UNet,
    VAE,
    DCGAN,
    biased_dcgan,
    ConvAE,
    ActorCritic,
    square_actor_critic,
    SharedTrunk,
    SB3,
    Critic,
    NatureDQN,
    ViT,
    GPT,
    tied_gpt,
    TorchTransformer,
    Llama,
    GLUNet,
    GLUSeq,
    GroupNormNet,
    Super,
    Mobile,
    Dense,
    SSD,
    SMP,
    LoRANet,
    FlatBN,
    LastAxis,
    SE,
    Mixer,
    HFBert,
    LSTMNet,
    Shuffle,
    Sliced,
    SlicedTap,
    hidden_norm,
    hidden_cell,
    FlatNorm,
]
